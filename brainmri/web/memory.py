"""A limit on what the bodies of all requests together hold in memory, over HTTP and gRPC."""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brainmri.errors import Overloaded

SHARE = "body_share"
"""Under this name a request's state holds its `Share`."""

_RETRY_AFTER_S = 1.0


class BodyMemory:
    """Counts the bytes of the bodies under way. Not for threads: only the event loop calls it.

    Args:
        max_bytes: Most bytes held by the requests under way.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held = 0

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """Opens what one request holds, and gives it back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.held -= share.held


class Share:
    """What one request holds; see `BodyMemory.share`.

    Args:
        memory: What all of them hold.
    """

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self.held = 0

    def add(self, size: int) -> None:
        """Counts `size` bytes more. A request that is alone has its own limits only.

        Raises:
            Overloaded: They do not fit beside what the others hold.
        """
        memory = self._memory
        if memory.held > self.held and memory.held + size > memory.max_bytes:
            raise Overloaded(
                f"Uploads under way would hold more than {memory.max_bytes} bytes. Try again in a second.",
                retry_after_s=_RETRY_AFTER_S,
                limit=f"{memory.max_bytes} bytes",
            )
        memory.held += size
        self.held += size

    def give_back(self, size: int) -> None:
        """Counts `size` bytes less, because they are held no more."""
        self._memory.held -= size
        self.held -= size


class BodyMemoryMiddleware:
    """Refuses a request whose next piece would not fit beside the bodies of the others.

    The queue's limits hold for images that have arrived; uploads come before it. Pieces count when they have come, not
    when they are announced: or else a few clients that announce much and send little would shut out all others.

    Args:
        app: What reads the bodies; it must answer `BrainMRIError` that `receive` raises.
        memory: What they share.
    """

    def __init__(self, app: ASGIApp, memory: BodyMemory) -> None:
        self._app = app
        self._memory = memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        with self._memory.share() as share:

            async def counted_receive() -> Message:
                message = await receive()
                share.add(len(message.get("body", b"")))
                return message

            scope["state"] = {**scope.get("state", {}), SHARE: share}
            await self._app(scope, counted_receive, send)
