"""The HTTP interface: every route, and what surrounds them."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute

from brainmri.api.call import PRIORITY_HEADER, TIMEOUT_HEADER
from brainmri.api.failures import HANDLERS
from brainmri.api.kserve_v1 import v1_routes
from brainmri.api.middleware import REQUEST_ID, RequestMiddleware
from brainmri.api.model import model_routes
from brainmri.api.pages import documentation_routes, unknown_route
from brainmri.api.predict import predict_routes
from brainmri.inference.engine import Engine
from brainmri.metrics import Metrics
from brainmri.settings import Settings


def create_app(engine: Engine, metrics: Metrics, settings: Settings, swagger: Path | None = None) -> Starlette:
    """Builds the application; it answers 503 until the engine is ready.

    Args:
        engine: What predicts.
        metrics: What counts.
        settings: Limits, timeouts and allowed origins.
        swagger: Folder of the Swagger UI's files, whose initializer reads `./docs.json`; no page at `/` if None.
    """
    routes: list[BaseRoute] = [
        *predict_routes(engine, metrics, settings),
        *model_routes(engine),
        *v1_routes(engine, metrics, settings),
        *documentation_routes(swagger),
    ]
    return Starlette(
        routes=[*routes, unknown_route(routes)],
        middleware=[*_cors(settings), Middleware(RequestMiddleware, metrics=metrics)],
        exception_handlers=HANDLERS,
    )


def _cors(settings: Settings) -> list[Middleware]:
    if not settings.cors_origins:
        return []
    # Outermost: a preflight request carries no key, and an error without these headers is unreadable for a page.
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "X-API-Key", "traceparent", REQUEST_ID, TIMEOUT_HEADER, PRIORITY_HEADER],
            expose_headers=[REQUEST_ID, "Retry-After"],
        )
    ]
