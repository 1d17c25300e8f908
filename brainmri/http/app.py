"""The HTTP interface: every route, and the middleware around them."""

from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from brainmri.batching.engine import Engine
from brainmri.batching.previews import Previews
from brainmri.bulk.serving import Bulk
from brainmri.errors import JobsDisabled
from brainmri.http.documentation import document_route, model_routes, unknown_route
from brainmri.http.explain import explain_routes
from brainmri.http.feedback import feedback_routes
from brainmri.http.kserve_v1 import v1_routes
from brainmri.http.predict import predict_routes, preview_routes
from brainmri.http.report import report_routes
from brainmri.http.score import score_routes
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.dataplane import DataPlane
from brainmri.open_inference.rest import routes as open_inference_routes
from brainmri.settings import Settings
from brainmri.web.failures import HANDLERS
from brainmri.web.middleware import FaultMiddleware
from brainmri.web.spool import told_disk_errors
from brainmri.web.stack import metrics_route, middleware_stack

_Handler = Callable[[Request], Awaitable[Response]]


def job_routes(engine: Engine, metrics: Metrics, settings: Settings, bulk: Bulk) -> list[BaseRoute]:
    """Returns the routes of jobs; without jobs they all say so.

    Args:
        engine: Whose models may be chosen.
        metrics: The metrics of this process.
        settings: Limits.
        bulk: Where jobs are kept, if the server keeps any.
    """
    create: _Handler = _disabled
    show_all = show = delete = results = create
    if bulk.store is not None:
        from brainmri.http.jobs import Jobs  # noqa: PLC0415 -- brings pyarrow, 60 MB of memory

        jobs = Jobs(engine, metrics, settings, bulk.store, bulk)
        handlers = (jobs.create, jobs.list, jobs.show, jobs.delete, jobs.results)
        create, show_all, show, delete, results = map(_with_disk_errors_told, handlers)
    return [
        Route("/jobs", create, methods=["POST"]),
        Route("/jobs", show_all, methods=["GET"]),
        Route("/jobs/{id}", show, methods=["GET"]),
        Route("/jobs/{id}", delete, methods=["DELETE"]),
        Route("/jobs/{id}/results", results, methods=["GET"]),
    ]


def _with_disk_errors_told(handle: _Handler) -> _Handler:
    async def handle_with_disk(request: Request) -> Response:
        with told_disk_errors():
            return await handle(request)

    return handle_with_disk


async def _disabled(_: Request) -> Response:
    raise JobsDisabled("This server keeps no jobs. Use /score, or ask whoever runs it to set BRAINMRI_JOBS_DIR.")


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
    previews = Previews(settings.decode_threads(), plane.admission.previews)
    if middleware is None:
        middleware = middleware_stack(settings, metrics, None, plane.admission)
    routes: list[BaseRoute] = [
        *predict_routes(engine, metrics, settings),
        *explain_routes(engine, metrics, settings),
        *preview_routes(engine, settings, previews),
        *report_routes(engine, metrics, settings),
        *score_routes(engine, metrics, settings, bulk),
        *job_routes(engine, metrics, settings, bulk),
        *feedback_routes(engine, settings),
        *model_routes(engine),
        *v1_routes(engine, metrics, settings),
        *open_inference_routes(plane),
        document_route(engine, settings),
        *pages,
        metrics_route(metrics),
    ]
    return Starlette(
        routes=[*routes, unknown_route(routes)],
        middleware=[*middleware, Middleware(FaultMiddleware)],
        exception_handlers=HANDLERS,
    )
