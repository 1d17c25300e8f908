"""What surrounds everything that HTTP reaches, BentoML's own routes included: CORS, the request's record, API keys."""

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from brainmri.blocking import Threads
from brainmri.observe.exposition import content_type
from brainmri.observe.metrics import Metrics
from brainmri.settings import Settings
from brainmri.web.auth import KeyMiddleware, KeyRing
from brainmri.web.call import PRIORITY_HEADER, TIMEOUT_HEADER
from brainmri.web.middleware import REQUEST_ID, RequestMiddleware


def surroundings(settings: Settings, metrics: Metrics, keys: KeyRing | None) -> list[Middleware]:
    """Returns the middleware of a server, the outermost first.

    Args:
        settings: Whose pages may call.
        metrics: Where requests are counted.
        keys: Who may call; anybody if None.
    """
    request = Middleware(RequestMiddleware, metrics=metrics)
    return [*_cors(settings), request, *([] if keys is None else [Middleware(KeyMiddleware, keys=keys)])]


def metrics_route(metrics: Metrics) -> Route:
    """Returns the route that Prometheus asks; its thread is its own, as figures matter most when others are busy."""
    threads = Threads("metrics", 1)

    async def show(request: Request) -> Response:
        accept = request.headers.get("accept", "")
        # It reads the files of all workers.
        text = await threads.run(metrics.exposition, accept)
        return Response(text, headers={"Content-Type": content_type(accept), "Vary": "Accept"})

    return Route("/metrics", show, methods=["GET"])


def _cors(settings: Settings) -> list[Middleware]:
    if not settings.cors_origins:
        return []
    # Outermost: a preflight request carries no key, and an error without these headers is unreadable for a page.
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "traceparent", REQUEST_ID, TIMEOUT_HEADER, PRIORITY_HEADER],
            expose_headers=[REQUEST_ID, "Retry-After"],
        )
    ]
