"""When to try again, for answers that BentoML makes of our errors: it takes their status, but no headers."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brainmri.errors import STATUS, NotReady, Overloaded, retry_after

_RETRY_S = {STATUS[kind].http: retry_after(kind) for kind in (Overloaded, NotReady)}
"""Status to the seconds of the error that it stands for."""


class RetryAfterMiddleware:
    """Adds `Retry-After` to refusals that lack it, as RFC 9110, section 10.2.3 has it.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""

        async def completed_send(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in _RETRY_S:
                MutableHeaders(scope=message).setdefault("Retry-After", str(_RETRY_S[message["status"]]))
            await send(message)

        await self._app(scope, receive, completed_send)
