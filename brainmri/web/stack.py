"""The middleware around everything that HTTP reaches, BentoML's own routes included: CORS, record, keys, admission."""

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from brainmri.batching.admission import Admission
from brainmri.blocking import Threads
from brainmri.observe.exposition import content_type
from brainmri.observe.metrics import Metrics
from brainmri.settings import Settings
from brainmri.web.auth import KeyMiddleware, KeyRing
from brainmri.web.call import PRIORITY_HEADER, TIMEOUT_HEADER, AdmissionMiddleware
from brainmri.web.middleware import REQUEST_ID, RequestMiddleware


def middleware_stack(
    settings: Settings,
    metrics: Metrics,
    keys: KeyRing | None,
    admission: Admission,
    guards: Sequence[Middleware] = (),
) -> list[Middleware]:
    """Returns the middleware of a server, the outermost first.

    Args:
        settings: Whose pages may call.
        metrics: Where requests are counted.
        keys: Who may call; anybody if None.
        admission: What lets requests in.
        guards: What refuses requests before that, the outermost first.
    """
    return [
        *_cors(settings),
        Middleware(RequestMiddleware, metrics=metrics),
        *([] if keys is None else [Middleware(KeyMiddleware, keys=keys)]),
        *guards,
        Middleware(AdmissionMiddleware, admission=admission),
    ]


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
