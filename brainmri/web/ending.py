"""Refuses requests that begin while the server ends."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from brainmri.errors import NotReady
from brainmri.web.connections import Connections
from brainmri.web.failures import failure
from brainmri.web.middleware import is_probe


class EndingMiddleware:
    """Answers 503 with Retry-After once requests are refused; probes are answered to the end.

    Args:
        app: What answers before.
        connections: Says when.
    """

    def __init__(self, app: ASGIApp, connections: Connections) -> None:
        self._app = app
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != "http" or not self._connections.refusing or is_probe(scope["path"]):
            await self._app(scope, receive, send)
            return
        error = NotReady("This server is about to end. Send the request again; another one answers.")
        await failure(Request(scope), error)(scope, receive, send)
