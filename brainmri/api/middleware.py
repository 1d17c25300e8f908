"""What surrounds every request: its id, its count, and the last resort when something unexpected is raised."""

import logging
import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brainmri.api.schemas import plain_error_body
from brainmri.metrics import Metrics

REQUEST_ID = "X-Request-Id"
UNMATCHED = "unmatched"

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_logger = logging.getLogger(__name__)


class RequestMiddleware:
    """Gives each request an id, counts its answer, and turns unexpected exceptions into a 500 that leaks nothing.

    Args:
        app: What answers.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = sane_request_id(Headers(scope=scope).get(REQUEST_ID, ""))
        # A new dict: the outer application's state is shared by all requests.
        scope["state"] = {**scope.get("state", {}), "request_id": request_id}
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = status or 499
        except Exception:
            _logger.exception("Unexpected error in request %s", request_id)
            if status:
                # The answer has begun; only closing the connection can tell the client.
                raise
            await _internal_error(request_id)(scope, receive, send_with_id)
        finally:
            self._metrics.count_request(_template(scope), "http", status or 500)


def sane_request_id(given: str) -> str:
    """Returns `given` if it is 1 to 64 letters, digits, dots, dashes or underscores, and a new id otherwise."""
    return given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex


def _internal_error(request_id: str) -> JSONResponse:
    message = "The server failed unexpectedly. Try again; if it stays, report the request id."
    return JSONResponse(plain_error_body("internal", message, request_id).model_dump(), 500)


def _template(scope: Scope) -> str:
    route = scope.get("route")
    if route is None or route.name == UNMATCHED:
        return UNMATCHED
    return str(getattr(route, "path", UNMATCHED))
