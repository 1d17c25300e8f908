"""A limit on what the bodies of all requests together hold in memory."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brainmri.errors import Overloaded

_RETRY_AFTER_S = 1.0


class BodyMemoryMiddleware:
    """Refuses a request whose next piece would not fit beside the bodies of the others.

    The queue's limits hold for images that have arrived; uploads come before it. Pieces count when they have come, not
    when they are announced: or else a few clients that announce much and send little would shut out all others. The
    body of a request that is alone has its own limits only.

    Args:
        app: What reads the bodies; it must answer `BrainMRIError` that `receive` raises.
        max_bytes: Most bytes held by the requests under way.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        mine = 0

        async def counted_receive() -> Message:
            nonlocal mine
            message = await receive()
            size = len(message.get("body", b""))
            if self._held > mine and self._held + size > self._max_bytes:
                raise Overloaded(
                    f"Uploads under way would hold more than {self._max_bytes} bytes. Try again in a second.",
                    retry_after_s=_RETRY_AFTER_S,
                    limit=f"{self._max_bytes} bytes",
                )
            self._held += size
            mine += size
            return message

        try:
            await self._app(scope, counted_receive, send)
        finally:
            self._held -= mine
