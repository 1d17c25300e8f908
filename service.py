"""The BentoML service: wiring only. Start it with `brainmri serve`."""

import asyncio
import logging
import os
from pathlib import Path

import bentoml
from bentoml.exceptions import BentoMLException
from bentoml.models import BentoModel

from brainmri import logs, store, tracing
from brainmri.api.auth import KeyRing
from brainmri.api.http import create_app
from brainmri.api.surroundings import surroundings
from brainmri.errors import BrainMRIError
from brainmri.imaging import DecodeLimits
from brainmri.inference.engine import Engine
from brainmri.inference.predictor import Predictor
from brainmri.inference.schedule import Batching
from brainmri.metrics import process_metrics
from brainmri.settings import load_settings

# A service for medical images must not report to third parties.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")

settings = load_settings()
engine = Engine(
    settings.decode_threads(),
    Batching(
        max_batch_size=settings.max_batch_size,
        max_queue_images=settings.max_queue_images,
        batch_wait_s=settings.batch_wait_ms / 1e3,
    ),
    settings.max_request_images,
    process_metrics(),
)
_SWAGGER = Path(bentoml.__file__).parent / "_internal" / "server" / "static_content"
keys = None if settings.api_keys_file is None else KeyRing(settings.api_keys_file)
app = create_app(engine, process_metrics(), settings, _SWAGGER, middleware=())

_logger = logging.getLogger("brainmri")


@bentoml.service(
    name="brainmri",
    workers=1,
    # After our own deadline, because BentoML's 504 has another shape.
    traffic={"timeout": settings.request_timeout_s + 10},
    # What BentoML counts, logs and traces by raw path, our own middleware does by route.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": "."},
)
@bentoml.asgi_app(app)
class BrainMRI:
    """Classifies brain-MRI slices. Research use only, never a diagnosis."""

    # Names the model for `bentoml build`; it is loaded from the verified bundle.
    model = BentoModel(settings.models[0])

    def __init__(self) -> None:
        """Runs in each worker, before it listens."""
        logs.configure(settings.log_format, settings.log_level)
        self._failed = False
        self._loading: asyncio.Task[None] | None = None

    # In this order: the other way round BentoML does not find the hook and says nothing.
    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check() -> None:
        """Refuses to start, in the parent process, without a valid bundle that this code can serve."""
        logs.configure(settings.log_format, settings.log_level)
        try:
            tracing.configured()
            if keys is not None:
                keys.load()
            for tag in settings.models:
                Predictor.check(store.resolve(tag), settings.runtime)
        except BrainMRIError as error:
            raise BentoMLException(error.message) from error

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def load(self) -> None:
        """Starts loading; until it is done, /livez answers, /readyz and /predict say 503."""
        tracing.process_tracing()
        if keys is not None:
            keys.load()
        self._loading = asyncio.create_task(self._load())

    async def _load(self) -> None:
        try:
            await engine.start(_open_predictors)
        except Exception:
            self._failed = True
            _logger.exception("The models %s cannot be loaded; this worker stays not ready", settings.models)
            return
        process_metrics().announce_models(engine.models.all())
        for predictor in engine.models.all():
            runtime = predictor.runtime_info
            _logger.info("Ready: %s, runtime %s, threads %d", predictor.contract.tag, runtime.name, runtime.threads)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def close(self) -> None:
        """Finishes what has begun."""
        if self._loading is not None:
            await self._loading
        await engine.drain(settings.shutdown_grace_s)
        if (traces := tracing.process_tracing()) is not None:
            traces.close()

    async def __is_ready__(self) -> bool:
        """Whether the model is loaded and warm."""
        return engine.ready

    async def __is_alive__(self) -> bool:
        """Whether a restart would not help."""
        return engine.alive and not self._failed


for _middleware in surroundings(settings, process_metrics(), keys):
    BrainMRI.add_asgi_middleware(_middleware.cls, **_middleware.kwargs)  # type: ignore[attr-defined]


def _open_predictors() -> list[Predictor]:
    limits = DecodeLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
    return [
        Predictor.open(store.resolve(tag), settings.runtime, settings.inference_threads(), limits)
        for tag in settings.models
    ]
