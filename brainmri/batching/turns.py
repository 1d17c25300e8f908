"""Turns at something that is held in full until it is over: so many at a time, shared among clients."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from brainmri.errors import Overloaded


@dataclass(frozen=True, eq=False)
class _Turn:
    client: str
    begun: float
    limit: asyncio.Timeout

    def hurry(self, longest_s: float) -> None:
        """Ends the turn `longest_s` after its beginning; a turn that is to end is left as it is."""
        if self.limit.when() is None:
            self.limit.reschedule(max(self.begun + longest_s, time.monotonic()))


class Turns:
    """Counts on the event loop. A client has at most half of the turns, and clients that wait get theirs in rotation.

    A turn that has lasted `hurried_s` ends as soon as its end would help somebody who waits; until then it may take as
    long as it likes.

    Args:
        most: Most at a time, at least 1.
        most_waiting_per_client: Most of one client that wait for one.
        hurried_s: Longest turn, from its beginning, while others wait for it, in seconds.
    """

    def __init__(self, most: int, most_waiting_per_client: int, hurried_s: float) -> None:
        self._most = most
        self._share = max(most // 2, 1)
        self._most_waiting_per_client = most_waiting_per_client
        self._hurried_s = hurried_s
        self._taken: Counter[str] = Counter()
        self._under_way: set[_Turn] = set()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @property
    def taken(self) -> int:
        """How many are under way."""
        return self._taken.total()

    @asynccontextmanager
    async def one(self, client: str) -> AsyncIterator[None]:
        """Takes a turn until the end of the context; waits for it first.

        Args:
            client: Whose it is.

        Raises:
            Overloaded: Too many of the client wait already, or the turn took too long while somebody waited.
        """
        await self._take(client)
        turn = _Turn(client, time.monotonic(), asyncio.timeout(None))
        try:
            async with turn.limit:
                self._under_way.add(turn)
                self._hurry()
                yield
        except TimeoutError as error:
            if not turn.limit.expired():
                raise
            raise self._too_slow() from error
        finally:
            self._under_way.discard(turn)
            self._give_back(client)

    async def _take(self, client: str) -> None:
        if client not in self._waiting and self._may_begin(client):
            self._taken[client] += 1
            return
        queue = self._waiting.setdefault(client, deque())
        if len(queue) >= self._most_waiting_per_client:
            raise self._too_many()
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._hurry()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(client, turn)
            else:
                self._give_back(client)
            raise

    def _may_begin(self, client: str) -> bool:
        return self.taken < self._most and self._taken[client] < self._share

    def _leave(self, client: str, turn: "asyncio.Future[None]") -> None:
        queue = self._waiting.get(client)
        # Whoever gave a turn back in the meantime may have passed it over.
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._waiting[client]

    def _give_back(self, client: str) -> None:
        self._taken[client] -= 1
        if not self._taken[client]:
            del self._taken[client]
        while (following := next(filter(self._may_begin, self._waiting), None)) is not None:
            self._begin_next(following)

    def _begin_next(self, client: str) -> None:
        queue = self._waiting.pop(client)
        turn = queue.popleft()
        if queue:
            # At the end: the next turn is another client's.
            self._waiting[client] = queue
        if not turn.cancelled():
            self._taken[client] += 1
            turn.set_result(None)

    def _hurry(self) -> None:
        """Sets a limit for the turns that somebody waits for."""
        # Only a turn of its own helps a client that has its share; anybody's helps the others once all are taken.
        at_share = {client for client in self._waiting if self._taken[client] >= self._share}
        others_wait = self.taken >= self._most and len(self._waiting) > len(at_share)
        for turn in self._under_way:
            if others_wait or turn.client in at_share:
                turn.hurry(self._hurried_s)

    def _too_many(self) -> Overloaded:
        limit = f"{self._most_waiting_per_client} messages"
        message = f"You already have {limit} waiting, the maximum. Try again in a second."
        return Overloaded(message, retry_after_s=1.0, limit=limit)

    def _too_slow(self) -> Overloaded:
        limit = f"{self._hurried_s:g} s"
        message = (
            f"The message took longer than {limit} to arrive while others waited. Send smaller messages, or try again"
            " later."
        )
        return Overloaded(message, retry_after_s=1.0, limit=limit)
