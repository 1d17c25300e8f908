"""Streams that mostly wait, such as a health check's `Watch`: they need no key, and have a limit of their own."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from brainmri.errors import Overloaded

MAX_STREAMS = 128
"""Most of them at a time."""

MAX_STREAMS_PER_CONNECTION = 16
"""Most of them on one connection; a client needs one for each service that it watches."""

_RETRY_S = 1.0


class WaitingStreams:
    """The streams of one server, which do not count among the calls that work."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()

    @contextmanager
    def place(self, connection: str) -> Iterator[None]:
        """Takes one place.

        Args:
            connection: What gRPC calls the peer: address and port.

        Raises:
            Overloaded: There is none.
        """
        if self._of.total() >= MAX_STREAMS:
            raise _too_many(f"{MAX_STREAMS} streams")
        if self._of[connection] >= MAX_STREAMS_PER_CONNECTION:
            raise _too_many(f"{MAX_STREAMS_PER_CONNECTION} streams of this connection")
        self._of[connection] += 1
        try:
            yield
        finally:
            self._of[connection] -= 1
            if not self._of[connection]:
                del self._of[connection]


def _too_many(limit: str) -> Overloaded:
    message = f"{limit} are open, the most there may be. Close some, or ask again in a second."
    return Overloaded(message, retry_after_s=_RETRY_S, limit=limit)
