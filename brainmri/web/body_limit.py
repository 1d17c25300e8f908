"""Limits on the requests of BentoML's own routes, which would take any number of any size."""

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from brainmri.errors import BrainMRIError, MalformedRequest, Overloaded
from brainmri.web.body import request_too_large
from brainmri.web.failures import failure


class BodyLimitMiddleware:
    """Refuses a body that is too large, or of unknown length, before it is read, and requests beyond a number.

    Args:
        app: What answers the others.
        path: The route that it guards.
        max_bytes: Largest body, in bytes. The HTTP server cuts off what exceeds the announced length.
        max_requests: Most requests under way on that route.
    """

    def __init__(self, app: ASGIApp, path: str, max_bytes: int, max_requests: int) -> None:
        self._app = app
        self._path = path
        self._max_bytes = max_bytes
        self._max_requests = max_requests
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != "http" or scope["path"] != self._path:
            await self._app(scope, receive, send)
            return
        error = self._fault(Headers(scope=scope).get("content-length", ""))
        if error is not None:
            await failure(Request(scope), error)(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1

    def _fault(self, length: str) -> BrainMRIError | None:
        if not length.isdecimal():
            return MalformedRequest("This path needs the header Content-Length. Send the body in one piece.")
        if int(length) > self._max_bytes:
            return request_too_large(int(length), self._max_bytes)
        return None if self._under_way < self._max_requests else Overloaded.by_requests(self._max_requests)
