"""How many large requests there may be at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from brainmri.errors import TooManyJobs


class Slots:
    """Counts requests under way; for the event loop alone.

    Args:
        most: Most of them at a time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Takes a slot until the end of the context.

        Raises:
            TooManyJobs: None is free.
        """
        if self._taken >= self._most:
            raise TooManyJobs(
                f"{self._most} bulk requests are under way, the most that are taken. Try again in a minute.",
                retry_after_s=60,
                limit=f"{self._most} requests",
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
