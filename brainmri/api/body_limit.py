"""A limit on the bodies of BentoML's own routes, which would take any size."""

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from brainmri.api.body import request_too_large
from brainmri.api.failures import failure
from brainmri.errors import BrainMRIError, MalformedRequest


class BodyLimitMiddleware:
    """Refuses a body that is too large, or of unknown length, before it is read.

    Args:
        app: What answers the others.
        path: The route that it guards.
        max_bytes: Largest body, in bytes. The HTTP server cuts off what exceeds the announced length.
    """

    def __init__(self, app: ASGIApp, path: str, max_bytes: int) -> None:
        self._app = app
        self._path = path
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != "http" or scope["path"] != self._path:
            await self._app(scope, receive, send)
            return
        error = self._fault(Headers(scope=scope).get("content-length", ""))
        if error is None:
            await self._app(scope, receive, send)
        else:
            await failure(Request(scope), error)(scope, receive, send)

    def _fault(self, length: str) -> BrainMRIError | None:
        if not length.isdecimal():
            return MalformedRequest("This path needs the header Content-Length. Send the body in one piece.")
        return request_too_large(int(length), self._max_bytes) if int(length) > self._max_bytes else None
