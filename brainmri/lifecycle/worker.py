"""The life of one serving process: loading, following activations, signs of life, and an orderly end.

SIGTERM, which the server's parent process passes on: not ready at once, for HTTP and gRPC, and every answer of HTTP is
the last one of its connection. New requests are still answered for `shutdown_delay_s`, so that load balancers notice;
then they are refused with 503, and gRPC sends GOAWAY. Idle connections are closed a second later. When all that was
accepted is answered the process ends, at the latest `shutdown_grace_s` after the signal. When the parent process dies,
its workers do the same. SIGHUP: the configured models are resolved again.
"""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType

from brainmri import bentoml_internals
from brainmri.batching.engine import Engine, Siblings
from brainmri.errors import BrainMRIError
from brainmri.lifecycle.desired_state import DesiredState
from brainmri.lifecycle.follower import Follower, configure
from brainmri.lifecycle.listener import Listener, allow_open_files, end_http, require_free
from brainmri.lifecycle.state import BEAT_S, ServerState
from brainmri.model import store
from brainmri.model.predictor import Predictor
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.grpc_server import GrpcServer
from brainmri.settings import Settings
from brainmri.web.connections import Connections

_LAST_STEPS_S = 0.5
"""Kept back from the grace for closing files and threads."""
_CLOSING_S = 1.5
"""Kept back from what is left, for the HTTP server to close what was not answered in time."""
_POLL_S = 0.1

_logger = logging.getLogger(__name__)


class Worker:
    """One process that serves.

    Args:
        engine: What predicts; the worker starts and drains it.
        metrics: The metrics of this process.
        settings: The deployment.
        grpc: The gRPC interface; the worker starts and drains it.
        connections: Those of the HTTP interface.
        send_warm_up_requests: Warms the HTTP interface once a model is loaded, before the worker is ready.
    """

    def __init__(
        self,
        engine: Engine,
        metrics: Metrics,
        settings: Settings,
        grpc: GrpcServer,
        connections: Connections,
        send_warm_up_requests: Callable[[], Awaitable[None]],
    ) -> None:
        self._send_warm_up_requests = send_warm_up_requests
        self._engine = engine
        self._metrics = metrics
        self._settings = settings
        self._grpc = grpc
        self._connections = connections
        connections.count_refusal = metrics.count_refused_connection
        self._listener: Listener | None = None
        self._parent = os.getppid()
        state = ServerState(store.home(), settings.http_port)
        self._heartbeats = state.heartbeats(self._parent)
        if settings.workers > 1:
            engine.siblings = Siblings(lambda: self._heartbeats.all_ready(settings.workers), self._heartbeats.all_alive)
        self._follower = Follower(engine, metrics, settings, state.desired)
        self._tasks: list[asyncio.Task[None]] = []
        self._grpc_end: asyncio.Task[None] | None = None
        self._http_end: asyncio.Task[None] | None = None
        self._problem: str | None = None
        self._end_at: float | None = None
        self._last: threading.Timer | None = None

    @property
    def ready(self) -> bool:
        """Whether models are loaded and warm, here and in the sibling workers, and the process is not about to end."""
        return self._engine.server_ready

    @property
    def unready(self) -> str | None:
        """Why `ready` is False; None if it is True."""
        if self.ready:
            return None
        if self._end_at is not None:
            return "The server is about to end."
        if problem := self._problem or self._heartbeats.problem():
            return problem
        return "Another worker of this server is not ready." if self._engine.ready else "The models are being loaded."

    @property
    def alive(self) -> bool:
        """Liveness: False when only a restart can recover, this worker or a sibling."""
        return self._engine.server_alive

    async def start(self) -> None:
        """Starts gRPC and begins to load; both interfaces answer not ready until that is done."""
        allow_open_files(self._settings.max_connections)
        self._listen_to_signals()
        self._heartbeats.join()
        work = [self._keep_beating()]
        try:
            await self._grpc.start()
        except BrainMRIError as error:
            # Raising here would let BentoML start one worker after the other, each with a traceback.
            self._fail(f"The gRPC interface cannot be started: {error.message}")
        else:
            work += [self._load_and_follow(), self._accept_again()]
        self._tasks = [asyncio.create_task(each) for each in work]

    async def stop(self) -> float:
        """Answers what was accepted and ends; called when the HTTP server has answered everything that it accepted.

        Returns:
            How much of the grace is left, in seconds.
        """
        self._retire()
        assert self._grpc_end is not None  # noqa: S101 -- set by the first line
        assert self._last is not None  # noqa: S101 -- likewise
        await self._grpc_end
        await self._engine.drain(self._remaining_s())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._heartbeats.leave()
        # All is answered: what closes after this, such as traces, is no reason to say that something was cut off.
        self._last.cancel()
        return self._remaining_s()

    async def _load_and_follow(self) -> None:
        try:
            await self._follower.start(self._send_warm_up_requests)
        except BrainMRIError as error:
            self._fail(f"The models cannot be loaded: {error.message}")
        except Exception:
            _logger.exception("The models cannot be loaded")
            self._fail("The models cannot be loaded; the log says why.")
        else:
            self._beat()
            await self._follower.follow()

    def _fail(self, problem: str) -> None:
        """Goes on only to say what is wrong; to be replaced would not help."""
        _logger.error("%s", problem)
        # Where the store lies is nobody's business who asks over the network.
        self._problem = problem.replace(str(store.home()), "BENTOML_HOME")
        self._engine.fail()

    async def _keep_beating(self) -> None:
        while os.getppid() == self._parent:
            self._beat()
            await asyncio.sleep(BEAT_S)
        # Nobody would replace this worker, and it would hold the ports against the next server.
        _logger.error("The server's parent process has died: this worker answers what it accepted, and ends")
        os.kill(os.getpid(), signal.SIGTERM)

    def _beat(self) -> None:
        self._metrics.set_ready(self._engine.ready and self._engine.alive)
        if not self._engine.alive and self._problem is None:
            return
        try:
            self._heartbeats.beat(self._engine.ready, self._problem)
        except OSError as error:
            # A full disk may have room again; until then its siblings take this worker for dead, as they should.
            _logger.error("The sign of life cannot be written: %s", error)

    async def _accept_again(self) -> None:
        """Has the kernel accept connections again, if the worker that this one replaces was the last."""
        if self._listener is None:
            return
        while not self._listener.listening:
            await asyncio.sleep(_POLL_S)
        self._listener.accept_again()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._follower.reload)
        stop_http = signal.getsignal(signal.SIGTERM)
        if (server := bentoml_internals.running_server()) is not None:
            self._listener = Listener(server)

        def stop(number: int, frame: FrameType | None) -> None:
            if callable(stop_http):
                stop_http(number, frame)

        def terminate(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._begin_end, number == signal.SIGINT, partial(stop, number, frame))

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, terminate)

    def _begin_end(self, impatient: bool, stop: Callable[[], None]) -> None:
        self._retire()
        if self._http_end is None:
            self._http_end = asyncio.create_task(self._end_http(stop))
        elif impatient:  # Ctrl+C for the second time.
            stop()

    async def _end_http(self, stop: Callable[[], None]) -> None:
        await asyncio.sleep(min(self._settings.shutdown_delay_s, self._remaining_s()))
        limit_s = max(self._remaining_s() - _CLOSING_S, 0)
        await end_http(self._connections, self._listener, self._heartbeats.leave, limit_s)
        stop()

    def _retire(self) -> None:
        """Says not ready, and sets the clock for the rest; later calls change nothing."""
        if self._end_at is not None:
            return
        self._end_at = time.monotonic() + self._settings.shutdown_grace_s
        self._engine.retire()
        self._connections.ending = True
        self._metrics.set_ready(False)
        self._grpc_end = asyncio.create_task(self._end_grpc())
        self._last = threading.Timer(self._settings.shutdown_grace_s, _abandon)
        self._last.daemon = True
        self._last.start()

    async def _end_grpc(self) -> None:
        await asyncio.sleep(min(self._settings.shutdown_delay_s, self._remaining_s()))
        await self._grpc.drain(self._remaining_s())

    def _remaining_s(self) -> float:
        assert self._end_at is not None  # noqa: S101 -- set by `_retire`
        return max(self._end_at - time.monotonic() - _LAST_STEPS_S, 0.0)


def prepare_parent(settings: Settings) -> None:
    """Checks in the server's parent process, once, what can be checked there, and writes down what is to be served.

    Raises:
        BrainMRIError: A model cannot be served, the gRPC port is taken, or another server has this one's state.
    """
    if settings.grpc_port:
        require_free(settings.grpc_host, settings.grpc_port, "BRAINMRI_GRPC_PORT")
    bundles = [store.resolve(tag) for tag in settings.models]
    for bundle in bundles:
        Predictor.check(bundle, settings.runtime)
    state = ServerState(store.home(), settings.http_port)
    state.claim()
    file = state.desired
    # What was activated before this start is gone: a start serves what the environment says.
    file.write(DesiredState(tuple(bundle.contract.tag for bundle in bundles)))
    from brainmri.lifecycle.supervisor import supervise  # noqa: PLC0415 -- circus is imported in the parent only

    supervise(state.heartbeats(os.getpid()), settings, on_hangup=lambda: configure(settings, file))


def _abandon() -> None:
    _logger.critical("The shutdown took longer than BRAINMRI_SHUTDOWN_GRACE_S; what is left is cut off")
    os._exit(1)
