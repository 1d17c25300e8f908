"""What the server's parent process does for its workers once they run.

circus, with which BentoML starts them, would look for dead ones every ten seconds, and never for those that hang. Here
a worker that has died is replaced at once, one that has been silent for `worker_timeout_s` is killed, and while none
runs the parent refuses requests itself.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import uvicorn
from circus import controller
from circus.exc import ConflictError
from circus.sighandler import SysHandler
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from brainmri.errors import NotReady
from brainmri.lifecycle.listener import page_url
from brainmri.lifecycle.state import Heartbeats, runs
from brainmri.settings import Settings
from brainmri.web.connection import Connection
from brainmri.web.connections import Connections
from brainmri.web.failures import failure
from brainmri.web.middleware import SecurityHeadersMiddleware

_CLOSING_S = 10.0
"""Longest time for connections that were made just before a worker stood again, in seconds."""

_POLL_S = 0.5
_LATE_S = 5.0
"""The parent process itself was stopped, or the machine is too busy to tell anything, if a poll is so late."""
_YOUNG_S = 10.0
"""A worker that died younger is replaced at this age: starting one after the other would take all CPUs."""
_MANAGE_S = 10.0
"""How often circus counts its workers, dead ones or not, in seconds: one of them could not be started, for instance."""

_logger = logging.getLogger(__name__)


class StandIn:
    """Refuses every HTTP request on the server's sockets with 503, in a thread of its own, until it is stopped.

    The parent holds the listening socket too. Without this, connections would wait in the kernel's queue, and their
    clients for as long as it takes to start a worker.

    Args:
        sockets: Those that listen; they stay open.
        settings: Limits on connections.
    """

    def __init__(self, sockets: Sequence[socket.socket], settings: Settings) -> None:
        # Closing these leaves the originals alone.
        self._sockets = [socket.socket(fileno=os.dup(one.fileno())) for one in sockets]
        self._connections = Connections(settings)
        # Each answer is the last one of its connection: the next worker takes the client's next one.
        self._connections.ending = True
        self._loop = asyncio.new_event_loop()
        self._enough = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="stand-in", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Accepts no more connections; those that there are get their answers."""
        with contextlib.suppress(RuntimeError):  # It has failed, and its loop is closed.
            self._loop.call_soon_threadsafe(self._enough.set)

    def join(self, within_s: float) -> bool:
        """Waits until all is answered; returns whether it is."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._refuse_until_enough())
        finally:
            self._loop.close()

    async def _refuse_until_enough(self) -> None:
        app = SecurityHeadersMiddleware(_refuse)
        protocol = partial(Connection, self._connections)
        server = uvicorn.Server(
            uvicorn.Config(app, http=protocol, lifespan="off", log_config=None, log_level="error", access_log=False)  # type: ignore[arg-type]
        )
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup(self._sockets)
        await self._enough.wait()
        for listening in server.servers:
            listening.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_S):
                await self._connections.settle()
        await server.shutdown(self._sockets)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope)
    request.state.request_id = uuid.uuid4().hex
    error = NotReady("The server's worker process has ended and is being replaced. Try again in a few seconds.")
    await failure(request, error)(scope, receive, send)


class Silence:
    """How long each worker has been silent, by a clock that no sleeping machine and no administrator sets."""

    def __init__(self) -> None:
        self._seen = dict[int, tuple[int, float]]()
        self._looked_at = -1.0

    def observe(self, beats: Mapping[int, int], now: float) -> dict[int, float]:
        """Returns the seconds of silence of each worker.

        Args:
            beats: Something that changes with every sign of life, by process id.
            now: `time.monotonic`.
        """
        late = now - self._looked_at > _LATE_S
        self._looked_at = now
        known = {} if late else self._seen
        self._seen = {
            pid: known[pid] if pid in known and known[pid][0] == beat else (beat, now) for pid, beat in beats.items()
        }
        return {pid: now - since for pid, (_, since) in self._seen.items()}


class Supervisor:
    """Watches the workers from a thread of the parent process.

    Args:
        arbiter: circus's, which starts the workers.
        heartbeats: Of the workers.
        settings: How long a worker may be silent, and limits on connections.
        clock: Seconds, from any beginning.
    """

    def __init__(
        self,
        arbiter: Any,
        heartbeats: Heartbeats,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._arbiter = arbiter
        self._heartbeats = heartbeats
        self._settings = settings
        self._silence = Silence()
        self._stand_in: StandIn | None = None
        self._managed_at = clock()
        self._served = False
        self._announced = False

    def start(self) -> None:
        """Begins to watch, until the process ends."""
        threading.Thread(target=self._watch, name="supervisor", daemon=True).start()

    def _watch(self) -> None:
        while not self._arbiter.running:
            # Still being made.
            time.sleep(_POLL_S)
        while not self._arbiter._stopping:
            try:
                self._look()
            except Exception:
                # A disk that fails for a while, for one. circus goes on by itself.
                _logger.exception("The workers cannot be watched")
            time.sleep(_POLL_S)
        self._answer_in_their_place(needed=False)

    def _look(self) -> None:
        self._announce()
        # The first worker may have joined and died since the last look.
        self._served = self._served or bool(self._heartbeats.beats())
        self._replace_the_dead()
        silent_s = self._silence.observe(self._heartbeats.beats(), self._clock())
        self._kill_the_silent(silent_s)
        # A slow worker is not replaced by a refusal: only a dead one is.
        self._answer_in_their_place(needed=self._served and not silent_s)

    def _announce(self) -> None:
        """Tells a person once when the port answers: when every worker is warm for the first time."""
        settings = self._settings
        if self._announced or not self._heartbeats.all_ready(settings.workers):
            return
        self._announced = True
        _logger.info("Ready: open %s", page_url(settings.http_host, settings.http_port))

    def _replace_the_dead(self) -> None:
        now = self._clock()
        due = now - self._managed_at >= _MANAGE_S
        for process in self._processes():
            if _has_died(process.pid):
                self._heartbeats.forget(process.pid)
                due = due or process.age() > _YOUNG_S
        for pid in self._heartbeats.beats():
            if not runs(pid):  # circus has taken its exit status.
                self._heartbeats.forget(pid)
        if due:
            self._managed_at = now
            self._arbiter.loop.add_callback(self._manage)

    async def _manage(self) -> None:
        # circus is still at it, or the server is ending.
        with contextlib.suppress(ConflictError):
            await self._arbiter.manage_watchers()

    def _kill_the_silent(self, silent_s: Mapping[int, float]) -> None:
        ours = {process.pid for process in self._processes()}
        for pid, silence in silent_s.items():
            if pid in ours and silence > self._settings.worker_timeout_s:
                _logger.error("Worker %d has given no sign of life for %.0f s; it is killed and replaced", pid, silence)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _answer_in_their_place(self, needed: bool) -> None:
        if needed and self._stand_in is None:
            _logger.error("No worker runs: requests are refused with 503 until one does")
            self._stand_in = StandIn(list(self._arbiter.sockets.values()), self._settings)
        elif not needed and self._stand_in is not None:
            self._stand_in.stop()
            self._stand_in = None

    def _processes(self) -> Iterator[Any]:
        for watcher in self._arbiter.iter_watchers():
            yield from list(watcher.processes.values())


def supervise(heartbeats: Heartbeats, settings: Settings, on_hangup: Callable[[], None]) -> None:
    """Has the parent process watch its workers once circus starts them; call it there, before.

    Args:
        heartbeats: Of the workers.
        settings: See `Supervisor`.
        on_hangup: Called in a thread upon SIGHUP, on which circus would start new workers and end the old ones before
            the new ones are ready.
    """

    class Signals(SysHandler):  # type: ignore[misc]
        """circus's own, which is made once with everything else."""

        def __init__(self, made_by: Any) -> None:
            super().__init__(made_by)
            # Two that count the workers at the same time would end in an exception of circus.
            made_by.check_delay = -1
            Supervisor(made_by.arbiter, heartbeats, settings).start()

        def handle_hup(self) -> None:
            threading.Thread(target=on_hangup, name="reload", daemon=True).start()

    controller.SysHandler = Signals


def _has_died(process_id: int) -> bool:
    """Tells it without taking the exit status from circus."""
    try:
        return os.waitid(os.P_PID, process_id, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True
