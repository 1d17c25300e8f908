"""How many large requests there may be at a time, in all and of one client."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request

from brainmri.errors import TooManyJobs


class Slots:
    """Counts requests under way; for the event loop alone.

    Args:
        most: Most of them at a time.
        most_per_client: Most of one client; 0 for all but one, so that there is always room for somebody else.
    """

    def __init__(self, most: int, most_per_client: int = 0) -> None:
        self._most = most
        self._most_per_client = most_per_client or max(most - 1, 1)
        self._taken: Counter[str] = Counter()

    @contextmanager
    def one(self, client: str) -> Iterator[None]:
        """Takes a slot until the end of the context.

        Args:
            client: Whose it is; see `client_of`.

        Raises:
            TooManyJobs: None is free, or the client has taken its share.
        """
        for taken, most, whose in (
            (self._taken.total(), self._most, "are under way"),
            (self._taken[client], self._most_per_client, "of yours are under way"),
        ):
            if taken >= most:
                raise TooManyJobs(
                    f"{taken} bulk requests {whose}, the most that are taken. Try again in a minute.",
                    retry_after_s=60,
                    limit=f"{most} requests",
                )
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            self._taken += Counter()


def client_of(request: Request) -> str:
    """Returns who a client is: the name of its API key, or else its address."""
    key: str | None = getattr(request.state, "key_name", None)
    if key is not None:
        return f"key {key}"
    return "" if request.client is None else f"address {request.client.host}"
