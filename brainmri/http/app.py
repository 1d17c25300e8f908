"""The HTTP interface: every route, and the middleware around them."""

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
from brainmri.web.middleware import FaultMiddleware
from brainmri.web.stack import metrics_route, middleware_stack


def create_app(
    plane: DataPlane,
    metrics: Metrics,
    pages: Sequence[BaseRoute] = (),
    *,
    middleware: Sequence[Middleware] | None = None,
    bulk: Bulk | None = None,
) -> Starlette:
    """Builds the application; it answers 503 until the engine is ready.

    Args:
        plane: What answers the Open Inference Protocol, over gRPC too; its engine, settings and admission are those of
            every route.
        metrics: The metrics of this process.
        pages: Routes for people rather than programs: the page and Swagger.
        middleware: The outer middleware; `middleware_stack` without API keys if None. A server that has routes beside
            this application puts it around them too, and gives none here.
        bulk: The way of bulk work to the engine, and the jobs, which somebody else starts; one of its own if None.
    """
    engine, settings = plane.engine, plane.settings
    bulk = bulk or Bulk.of(engine, metrics, settings)
    previews = Previews(settings.decode_threads(), settings.max_queue_images)
    if middleware is None:
        middleware = middleware_stack(settings, metrics, None, plane.admission)
    routes: list[BaseRoute] = [
        *predict_routes(engine, metrics, settings),
        *explain_routes(engine, metrics, settings),
        *preview_routes(engine, settings, previews),
        *report_routes(engine, metrics, settings, previews),
        *score_routes(engine, metrics, settings, bulk),
        *job_routes(engine, metrics, settings, bulk),
        *model_routes(engine),
        *v1_routes(engine, metrics, settings),
        *open_inference_routes(plane),
        document_route(),
        *pages,
        metrics_route(metrics),
    ]
    return Starlette(
        routes=[*routes, unknown_route(routes)],
        middleware=[*middleware, Middleware(FaultMiddleware)],
        exception_handlers=HANDLERS,
    )
