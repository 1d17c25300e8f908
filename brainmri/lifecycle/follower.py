"""Keeps the models of one worker in step with the desired state; the old ones serve until the new ones are warm."""

import asyncio
import contextlib
import gc
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from starlette.types import ASGIApp, Message

from brainmri.batching.call import Call, Deadline
from brainmri.batching.engine import Engine
from brainmri.errors import BrainMRIError
from brainmri.lifecycle.desired_state import DesiredState, DesiredStateFile, Stamp
from brainmri.model import store
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Predictor, sample_image
from brainmri.observe.metrics import Metrics
from brainmri.settings import Settings
from brainmri.web.call import WARM_UP
from brainmri.web.schemas import prediction_body

_IMAGES = 5
_PATIENCE_S = 60.0

_BODY = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nno image\r\n--b--\r\n'

POLL_S = 1.0
"""An activation is seen after at most this long."""

_logger = logging.getLogger(__name__)
_configuring = threading.Lock()


def freeze() -> None:
    """Collects garbage, and takes all that is left out of later collections.

    A started worker holds some 100,000 objects for good, modules and schemas, and each full collection looks at all of
    them for 50 ms: an eighth of the event loop's time under load. What a model that is no longer served leaves behind
    is found at the next call.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def send_warm_up_requests(app: ASGIApp, engine: Engine) -> None:
    """Sends an upload that is refused through the application, and has a black image answered a few times.

    Measured: the first upload took 10 ms of CPU more than the second, the first image in a stream 9 ms more.

    Args:
        app: The application, without the middleware that counts and logs.
        engine: Has a model, and nothing that counts, yet.
    """
    sent: list[Message] = []

    unread = [_BODY]

    async def receive() -> Message:
        if not unread:
            # Nobody leaves: whoever watches for that waits until it is cancelled, as with a real client.
            await asyncio.Event().wait()
        return {"type": "http.request", "body": unread.pop(), "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = {"content-type": "multipart/form-data; boundary=b", "content-length": str(len(_BODY))}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/predict",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "state": {"request_id": "warm-up", WARM_UP: True},
    }
    await app(scope, receive, send)
    call = Call(engine.models.default, Deadline.after(_PATIENCE_S), warm_up=True)
    for _ in range(_IMAGES):
        prediction = await engine.predict(call, sample_image())
        prediction_body(prediction, "warm-up", "").model_dump_json()


class Follower:
    """Loads the desired models, and again whenever that changes.

    Args:
        engine: What serves the models.
        metrics: Where they are announced.
        settings: Runtime, threads and limits; and the models, as long as there is no file.
        file: The models to serve.
    """

    def __init__(self, engine: Engine, metrics: Metrics, settings: Settings, file: DesiredStateFile) -> None:
        self._engine = engine
        self._metrics = metrics
        self._settings = settings
        self._file = file
        self._seen: Stamp | None = None
        self._woken = asyncio.Event()

    async def start(self, send_warm_up_requests: Callable[[], Awaitable[None]]) -> None:
        """Loads the models and makes the engine ready. An activated model that fails now leaves the configured ones.

        Args:
            send_warm_up_requests: Warms what lies in front of the engine.

        Raises:
            BrainMRIError: The configured models cannot be loaded.
        """
        self._seen = self._file.stamp()
        desired = self._file.read() or DesiredState(self._settings.models)

        async def warm_and_freeze() -> None:
            await send_warm_up_requests()
            freeze()

        await self._engine.start(lambda: self._open_for_start(desired), warm_and_freeze)
        self._announce()

    async def follow(self) -> None:
        """Swaps the models whenever the file changes, for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), POLL_S)
            self._woken.clear()
            try:
                stamp = self._file.stamp()
            except OSError as error:
                _logger.error("What is to be served cannot be read, the models stay as they are: %s", error)
                continue
            if stamp not in (None, self._seen):
                self._seen = stamp
                await self._swap()

    def reload(self) -> None:
        """Resolves the configured tags again in a thread, and follows at once; call it on the event loop."""
        loop = asyncio.get_running_loop()

        def work() -> None:
            configure(self._settings, self._file)
            loop.call_soon_threadsafe(self._woken.set)

        threading.Thread(target=work, name="reload", daemon=True).start()

    async def _swap(self) -> None:
        try:
            desired = self._file.read()
            if desired is None:
                return
            await self._engine.swap(lambda: self._open(desired.tags))
            freeze()
        except BrainMRIError as error:
            _logger.error("The models stay as they are: %s", error.message)
        except Exception:
            # Whatever a foreign library raises on a broken model, the old one goes on.
            _logger.exception("The models stay as they are")
        else:
            self._announce()

    def _open_for_start(self, desired: DesiredState) -> list[Predictor]:
        try:
            return self._open(desired.tags)
        except BrainMRIError as error:
            if desired.activated is None:
                raise
            _logger.error("%s cannot be served: %s", desired.activated, error.message)
            return self._open(desired.configured)

    def _open(self, tags: Sequence[str]) -> list[Predictor]:
        """Opens what is not served already; runs in a thread."""
        served = {predictor.contract.tag: predictor for predictor in self._engine.models.all()}
        opened = dict[str, Predictor]()
        for tag in tags:
            bundle = store.resolve(tag)
            contract = bundle.contract
            if contract.tag in opened:
                continue
            known = served.get(contract.tag)
            if known is not None and known.contract == contract:
                opened[contract.tag] = known
                continue
            opened[contract.tag] = Predictor.open(bundle, ModelOptions.of(self._settings))
        return list(opened.values())

    def _announce(self) -> None:
        served = self._engine.models.all()
        self._metrics.announce_models(served)
        for predictor in served:
            runtime = predictor.runtime_info
            _logger.info("Serving %s, runtime %s, threads %d", predictor.contract.tag, runtime.name, runtime.threads)


def configure(settings: Settings, file: DesiredStateFile) -> None:
    """Resolves the configured tags again, `latest` included, and writes them down; what is activated stays.

    A tag that cannot be resolved is logged, and nothing changes.
    """
    with _configuring:
        try:
            asked = settings.asked_models or settings.models
            tags = tuple(store.ensure(tag, settings.bundles).contract.tag for tag in asked)
            before = file.read() or DesiredState(tags)
            file.write(replace(before, configured=tags))
        except BrainMRIError as error:
            _logger.error("The models stay as they are: %s", error.message)
