"""The HTTP interface: every route, and what surrounds them."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from brainmri.batching.previews import Previews
from brainmri.bulk.serving import Bulk
from brainmri.http.documentation import document_route, unknown_route
from brainmri.http.explain import explain_routes
from brainmri.http.job_routes import job_routes
from brainmri.http.kserve_v1 import v1_routes
from brainmri.http.models import model_routes
from brainmri.http.predict import predict_routes
from brainmri.http.preview import preview_routes
from brainmri.http.report import report_routes
from brainmri.http.score import score_routes
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.dataplane import DataPlane
from brainmri.open_inference.rest import routes as open_inference_routes
from brainmri.web.failures import HANDLERS
from brainmri.web.memory import BodyMemory, BodyMemoryMiddleware
from brainmri.web.middleware import FaultMiddleware
from brainmri.web.slots import Slots
from brainmri.web.surroundings import metrics_route, surroundings


def create_app(
    plane: DataPlane,
    metrics: Metrics,
    pages: Sequence[BaseRoute] = (),
    *,
    middleware: Sequence[Middleware] | None = None,
    memory: BodyMemory | None = None,
    bulk: Bulk | None = None,
) -> Starlette:
    """Builds the application; it answers 503 until the engine is ready.

    Args:
        plane: What answers the Open Inference Protocol, over gRPC too; its engine and its settings are those of every
            route.
        metrics: What counts.
        pages: Routes for people rather than programs: the page and Swagger.
        middleware: What surrounds the application; `surroundings` without API keys if None. A server that has routes
            beside this application surrounds them too, and gives none here.
        memory: What the bodies share with those of other interfaces; nothing if None.
        bulk: The way of bulk work to the engine, and the jobs, which somebody else starts; one of its own if None.
    """
    engine, settings = plane.engine, plane.settings
    bulk = bulk or Bulk.of(engine, metrics, settings)
    slots = Slots(settings.max_bulk_requests, settings.max_bulk_requests_per_client)
    previews = Previews(settings.decode_threads(), settings.max_queue_images)
    if middleware is None:
        middleware = surroundings(settings, metrics, keys=None)
    routes: list[BaseRoute] = [
        *predict_routes(engine, metrics, settings),
        *explain_routes(engine, metrics, settings),
        *preview_routes(engine, settings, previews),
        *report_routes(engine, metrics, settings, previews, slots),
        *score_routes(engine, metrics, settings, bulk, slots),
        *job_routes(engine, metrics, settings, bulk, slots),
        *model_routes(engine),
        *v1_routes(engine, metrics, settings),
        *open_inference_routes(plane),
        document_route(),
        *pages,
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
