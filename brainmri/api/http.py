"""The HTTP interface: every route, and what surrounds them."""

from collections.abc import Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from brainmri.api.failures import HANDLERS
from brainmri.api.job_routes import job_routes
from brainmri.api.kserve_v1 import v1_routes
from brainmri.api.memory import BodyMemory, BodyMemoryMiddleware
from brainmri.api.middleware import FaultMiddleware
from brainmri.api.model import model_routes
from brainmri.api.open_inference.rest import routes as open_inference_routes
from brainmri.api.pages import documentation_routes, unknown_route
from brainmri.api.predict import predict_routes
from brainmri.api.score import score_routes
from brainmri.api.slots import Slots
from brainmri.api.surroundings import metrics_route, surroundings
from brainmri.inference.engine import Engine
from brainmri.jobs.bulk import Bulk
from brainmri.metrics import Metrics
from brainmri.settings import Settings


def create_app(
    engine: Engine,
    metrics: Metrics,
    settings: Settings,
    swagger: Path | None = None,
    *,
    middleware: Sequence[Middleware] | None = None,
    memory: BodyMemory | None = None,
    bulk: Bulk | None = None,
) -> Starlette:
    """Builds the application; it answers 503 until the engine is ready.

    Args:
        engine: What predicts.
        metrics: What counts.
        settings: Limits, timeouts and allowed origins.
        swagger: Folder of the Swagger UI's files, whose initializer reads `./docs.json`; no page at `/` if None.
        middleware: What surrounds the application; `surroundings` without API keys if None. A server that has routes
            beside this application surrounds them too, and gives none here.
        memory: What the bodies share with those of other interfaces; nothing if None.
        bulk: The way of bulk work to the engine, and the jobs, which somebody else starts; one of its own if None.
    """
    bulk, slots = bulk or Bulk.of(engine, metrics, settings), Slots(settings.max_bulk_requests)
    if middleware is None:
        middleware = surroundings(settings, metrics, keys=None)
    routes: list[BaseRoute] = [
        *predict_routes(engine, metrics, settings),
        *score_routes(engine, metrics, settings, bulk, slots),
        *job_routes(engine, metrics, settings, bulk, slots),
        *model_routes(engine),
        *v1_routes(engine, metrics, settings),
        *open_inference_routes(engine, settings, metrics),
        *documentation_routes(swagger),
        metrics_route(metrics),
    ]
    return Starlette(
        routes=[*routes, unknown_route(routes)],
        middleware=[
            *middleware,
            Middleware(FaultMiddleware),
            Middleware(BodyMemoryMiddleware, memory=memory or BodyMemory(settings.max_held_bytes)),
        ],
        exception_handlers=HANDLERS,
    )
