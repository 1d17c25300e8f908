"""The BentoML service, put together in `compose`. Start it with `brainmri serve`."""

import os
import sys
from http import HTTPStatus
from typing import Annotated, Any

import bentoml
import numpy as np
from bentoml.exceptions import BentoMLException
from bentoml.models import BentoModel
from bentoml.validators import DType, Shape
from numpy.typing import NDArray
from pydantic import BeforeValidator
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from brainmri import bentoml_internals
from brainmri.batching.call import Call, Deadline
from brainmri.batching.engine import Engine
from brainmri.batching.schedule import Batching
from brainmri.bulk.serving import Bulk
from brainmri.errors import BrainMRIError, status_of
from brainmri.http.app import create_app
from brainmri.http.documentation import ClientSchemaMiddleware, swagger_routes
from brainmri.imaging import SIDE
from brainmri.lifecycle.follower import send_warm_up_requests
from brainmri.lifecycle.process import ServerProcess
from brainmri.lifecycle.state import ServerState
from brainmri.lifecycle.worker import Worker
from brainmri.model import store
from brainmri.observe.metrics import process_metrics
from brainmri.open_inference.dataplane import DataPlane
from brainmri.open_inference.grpc_server import GrpcServer
from brainmri.page.routes import page_routes
from brainmri.settings import Settings, load_settings
from brainmri.web.auth import KeyRing
from brainmri.web.body import BodyLimitMiddleware
from brainmri.web.connection import serve_connections
from brainmri.web.connections import Connections, EndingMiddleware
from brainmri.web.failures import RetryAfterMiddleware
from brainmri.web.middleware import HostMiddleware, SecurityHeadersMiddleware
from brainmri.web.stack import middleware_stack

MAX_TENSOR_BYTES = 3_000_000
"""Two images as the nested lists that BentoML's client sends. BentoML parses them on the event loop, 0.1 s for an
image in which nothing else happens; the Open Inference Protocol carries the same bytes as they are."""

SWITCH_INTERVAL_S = 0.0005
"""The event loop gets the interpreter back from a thread that decodes or infers after this long. Python's default of
5 ms cost a tenth of the goodput at five times the capacity."""


def _bytes(images: Any) -> Any:
    """Returns nested lists of pixels as an array.

    Raises:
        ValueError: They are not numbers from 0 to 255 in lists of equal lengths. BentoML would answer some with 500.
    """
    if isinstance(images, np.ndarray):
        return images
    try:
        return np.array(images, np.uint8).reshape(-1, SIDE, SIDE, 3)
    except (OverflowError, TypeError) as error:
        raise ValueError("Pixels are whole numbers from 0 to 255.") from error


Tensors = Annotated[NDArray[np.uint8], DType("uint8"), Shape((-1, SIDE, SIDE, 3)), BeforeValidator(_bytes)]
# Of a shape with two unknown sides BentoML's client can make nothing.
Probabilities = Annotated[NDArray[np.float32], DType("float32")]


def compose(settings: Settings) -> Any:
    """Returns the service of this process; each part is made from those above it."""
    # A service for medical images must not report to third parties.
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    bentoml_internals.switch_off_timeouts()

    # Before the metrics, which are written where this says.
    ServerState(store.home(), settings.http_port).share_metrics()
    metrics = process_metrics()
    engine = Engine(settings.decode_threads(), Batching.of(settings), settings.max_request_images, metrics)
    plane = DataPlane(engine, settings, metrics)
    bulk = Bulk.of(engine, metrics, settings)
    keys = None if settings.api_keys_file is None else KeyRing(settings.api_keys_file)

    pages = [*swagger_routes(bentoml_internals.swagger_files()), *page_routes(settings)]
    app = create_app(plane, metrics, pages, middleware=(), bulk=bulk)
    connections = Connections(settings)
    serve_connections(connections)
    grpc = GrpcServer(plane, metrics, keys)

    worker = Worker(engine, metrics, settings, grpc, connections, lambda: send_warm_up_requests(app, engine))
    service = bentoml_service(settings, app, plane, ServerProcess(settings, keys, bulk, worker))
    guards = (Middleware(HostMiddleware, settings=settings), Middleware(EndingMiddleware, connections=connections))
    for each in (
        Middleware(SecurityHeadersMiddleware),
        *middleware_stack(settings, metrics, keys, plane.admission, guards),
        *_bentoml_middleware(settings, plane, service),
    ):
        service.add_asgi_middleware(each.cls, **each.kwargs)
    return service


def bentoml_service(settings: Settings, app: Starlette, plane: DataPlane, process: ServerProcess) -> Any:
    """Returns BentoML's view of the service: its configuration, its hooks, and the tensor API of its own clients."""

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
            process.configure_logs()

        # In this order: the other way round BentoML does not find the hook and says nothing.
        @bentoml.on_deployment  # type: ignore[untyped-decorator]
        @staticmethod
        def check() -> None:
            try:
                process.check()
            except BrainMRIError as error:
                raise BentoMLException(error.message) from error

        @bentoml.on_startup  # type: ignore[untyped-decorator]
        async def start(self) -> None:
            await process.start()

        @bentoml.on_shutdown  # type: ignore[untyped-decorator]
        async def stop(self) -> None:
            await process.stop()

        @bentoml.api(batchable=True, max_batch_size=min(settings.max_batch_size, settings.max_request_images))  # type: ignore[untyped-decorator]
        async def probabilities(self, images: Tensors) -> Probabilities:
            """Classifies model inputs of the default model, uint8 [B, 299, 299, 3]; for BentoML's own clients."""
            return await _probabilities(plane, images)

        async def __is_ready__(self) -> bool:
            if (reason := process.unready) is not None:
                raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, reason)
            return True

        async def __is_alive__(self) -> bool:
            return process.alive

    return BrainMRI


async def _probabilities(plane: DataPlane, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    try:
        call = Call(plane.engine.models.default, Deadline.after(plane.settings.request_timeout_s))
        answers = await plane.engine.infer(call, images)
    except BrainMRIError as error:
        refusal = BentoMLException(error.message)
        refusal.error_code = HTTPStatus(status_of(error).http)
        raise refusal from error
    for answer in answers:
        plane.metrics.observe_prediction(answer)
    return np.array([list(answer.probabilities.values()) for answer in answers], np.float32)


def _bentoml_middleware(settings: Settings, plane: DataPlane, service: Any) -> tuple[Middleware, ...]:
    """Returns what BentoML's own routes need, the outermost first."""
    limit = Middleware(
        BodyLimitMiddleware,
        path="/probabilities",
        max_bytes=MAX_TENSOR_BYTES,
        admission=plane.admission,
        idle_s=settings.upload_idle_timeout_s,
        timeout_s=settings.request_timeout_s,
    )
    return Middleware(RetryAfterMiddleware), limit, Middleware(ClientSchemaMiddleware, schema=service.schema)


BrainMRI = compose(load_settings())
