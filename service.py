"""The BentoML service: wiring only. Start it with `brainmri serve`."""

import os
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import bentoml
import numpy as np
from bentoml._internal.server.http import traffic
from bentoml.exceptions import BentoMLException
from bentoml.models import BentoModel
from bentoml.validators import DType, Shape
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from brainmri.batching.call import Call
from brainmri.batching.deadline import Deadline
from brainmri.batching.engine import Engine
from brainmri.batching.schedule import Batching
from brainmri.bulk.serving import Bulk
from brainmri.errors import BrainMRIError, status_of
from brainmri.http.app import create_app
from brainmri.http.client_schema import ClientSchemaMiddleware
from brainmri.http.documentation import swagger_routes
from brainmri.imaging import SIDE
from brainmri.lifecycle.state import ServerState
from brainmri.lifecycle.warm_up_requests import send_warm_up_requests
from brainmri.lifecycle.worker import Worker, prepare_parent
from brainmri.model import store
from brainmri.observe import logs, tracing
from brainmri.observe.metrics import process_metrics
from brainmri.open_inference.dataplane import DataPlane
from brainmri.open_inference.server import GrpcServer
from brainmri.page.routes import page_routes
from brainmri.settings import load_settings
from brainmri.web.auth import KeyRing
from brainmri.web.body_limit import BodyLimitMiddleware
from brainmri.web.connection import serve_connections
from brainmri.web.connections import Connections
from brainmri.web.ending import EndingMiddleware
from brainmri.web.hosts import HostMiddleware
from brainmri.web.retry_after import RetryAfterMiddleware
from brainmri.web.security_headers import SecurityHeadersMiddleware
from brainmri.web.stack import middleware_stack
from brainmri.web.storage import require_spool

# A service for medical images must not report to third parties.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")

settings = load_settings()
connections = Connections(settings)
serve_connections(connections)
# Every route has a deadline of its own. BentoML's would cut long uploads off, in a shape of its own, and keeps a timer
# of each request until that is due.
traffic.TimeoutMiddleware = lambda app, timeout: app  # type: ignore[assignment,misc,return-value]
# The event loop gets the interpreter back from a thread that decodes or infers after this long, in seconds. Python's
# default of 5 ms cost a tenth of the goodput at five times the capacity.
sys.setswitchinterval(0.0005)
ServerState(store.home(), settings.http_port).share_metrics()
metrics = process_metrics()
engine = Engine(
    settings.decode_threads(),
    Batching(
        max_batch_size=settings.max_batch_size,
        max_queue_images=settings.max_queue_images,
        max_queue_delay_s=settings.max_queue_delay_ms / 1e3,
        streams=settings.inference_streams(),
    ),
    settings.max_request_images,
    metrics,
)
keys = None if settings.api_keys_file is None else KeyRing(settings.api_keys_file)
_SWAGGER = Path(bentoml.__file__).parent / "_internal" / "server" / "static_content"
bulk = Bulk.of(engine, metrics, settings)
plane = DataPlane(engine, settings, metrics)
pages = [*swagger_routes(_SWAGGER), *page_routes(settings)]
app = create_app(plane, metrics, pages, middleware=(), bulk=bulk)
grpc = GrpcServer(plane, metrics, keys)
worker = Worker(engine, metrics, settings, grpc, connections, lambda: send_warm_up_requests(app, engine))

MAX_TENSOR_BYTES = 3_000_000
"""Two images as the nested lists that BentoML's client sends. BentoML parses them on the event loop, 0.1 s for an
image in which nothing else happens; the Open Inference Protocol carries the same bytes as they are."""

Tensors = Annotated[NDArray[np.uint8], DType("uint8"), Shape((-1, SIDE, SIDE, 3))]
Probabilities = Annotated[NDArray[np.float32], DType("float32"), Shape((-1, 4))]


@bentoml.service(
    name="brainmri",
    workers=settings.workers,
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
            bulk.prepare()
            require_spool(settings.spool_dir)
            prepare_parent(settings)
        except BrainMRIError as error:
            raise BentoMLException(error.message) from error

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Starts loading; until it is done, /livez answers, /readyz and /predict say 503."""
        tracing.process_tracing()
        if keys is not None:
            keys.load()
        await worker.start()
        bulk.start()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Finishes what has begun."""
        await bulk.stop()
        left_s = await worker.stop()
        if (traces := tracing.process_tracing()) is not None:
            traces.close(left_s)

    @bentoml.api(batchable=True, max_batch_size=min(settings.max_batch_size, settings.max_request_images))  # type: ignore[untyped-decorator]
    async def probabilities(self, images: Tensors) -> Probabilities:
        """Classifies model inputs of the default model, uint8 [B, 299, 299, 3]; for BentoML's own clients."""
        try:
            call = Call(engine.models.default, Deadline.after(settings.request_timeout_s))
            answers = await engine.infer(call, images)
        except BrainMRIError as error:
            refusal = BentoMLException(error.message)
            refusal.error_code = HTTPStatus(status_of(error).http)
            raise refusal from error
        for answer in answers:
            metrics.observe_prediction(answer)
        return np.array([list(answer.probabilities.values()) for answer in answers], np.float32)

    async def __is_ready__(self) -> bool:
        """Whether the model is loaded and warm; the answer says why if it is not."""
        if (reason := worker.unready) is not None:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        return True

    async def __is_alive__(self) -> bool:
        """Liveness: False when only a restart can recover."""
        return worker.alive


BrainMRI.add_asgi_middleware(SecurityHeadersMiddleware)  # type: ignore[attr-defined]
guards = (Middleware(HostMiddleware, settings=settings), Middleware(EndingMiddleware, connections=connections))
for _middleware in middleware_stack(settings, metrics, keys, plane.admission, guards):
    BrainMRI.add_asgi_middleware(_middleware.cls, **_middleware.kwargs)  # type: ignore[attr-defined]
BrainMRI.add_asgi_middleware(RetryAfterMiddleware)  # type: ignore[attr-defined]
BrainMRI.add_asgi_middleware(  # type: ignore[attr-defined]
    BodyLimitMiddleware,
    path="/probabilities",
    max_bytes=MAX_TENSOR_BYTES,
    admission=plane.admission,
    idle_s=settings.upload_idle_timeout_s,
    timeout_s=settings.request_timeout_s,
)
BrainMRI.add_asgi_middleware(ClientSchemaMiddleware, schema=BrainMRI.schema)  # type: ignore[attr-defined]
