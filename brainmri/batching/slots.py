"""So many at a time, in all and of one client."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from brainmri.errors import BrainMRIError


class Slots:
    """Counts on the event loop.

    Args:
        most: Most at a time.
        most_per_client: Most of one client.
        refuse: Makes the error from the limit that is reached, and whether it is the client's own.
    """

    def __init__(self, most: int, most_per_client: int, refuse: Callable[[int, bool], BrainMRIError]) -> None:
        self._most = most
        self._most_per_client = most_per_client
        self._refuse = refuse
        self._taken: Counter[str] = Counter()

    def take(self, client: str) -> Callable[[], None]:
        """Takes a slot; returns what gives it back.

        Args:
            client: Whose it is.

        Raises:
            BrainMRIError: None is free, or the client has taken its share.
        """
        if self._taken.total() >= self._most:
            raise self._refuse(self._most, False)
        if self._taken[client] >= self._most_per_client:
            raise self._refuse(self._most_per_client, True)
        self._taken[client] += 1
        return partial(self._give_back, client)

    @contextmanager
    def one(self, client: str) -> Iterator[None]:
        """Takes a slot until the end of the context; see `take`."""
        give_back = self.take(client)
        try:
            yield
        finally:
            give_back()

    def _give_back(self, client: str) -> None:
        self._taken[client] -= 1
        if not self._taken[client]:
            del self._taken[client]
