"""Keeps the models of one worker in step with the desired state; the old ones serve until the new ones are warm."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from brainmri.batching.engine import Engine
from brainmri.errors import BrainMRIError
from brainmri.lifecycle.desired_state import DesiredState, DesiredStateFile, Stamp
from brainmri.lifecycle.garbage import freeze
from brainmri.model import store
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Predictor
from brainmri.observe.metrics import Metrics
from brainmri.settings import Settings

POLL_S = 1.0
"""An activation is seen after at most this long."""

_logger = logging.getLogger(__name__)
_configuring = threading.Lock()


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
