"""When a user sends: as soon as it has its answer, or when an arrival is due."""

import random
import time
from collections.abc import Callable
from typing import Protocol

from gevent.pool import Pool

MOST_UNDER_WAY = 64
"""Requests that one user of an open loop may have under way. At one arrival a second it is over a minute's worth."""


class Pace(Protocol):
    """Decides when requests are sent and from when their latency counts."""

    def wait_s(self) -> float:
        """Returns how long to wait before the next request, in seconds."""

    def send(self, exchange: Callable[[float], None]) -> bool:
        """Calls `exchange` with the time at which the request was due, by `time.perf_counter`; False if it cannot."""

    def finish(self, within_s: float) -> None:
        """Waits for what is under way, at most so many seconds, and ends the rest."""


class ClosedLoop:
    """One request after the other: a slow service gets fewer requests, and hides its queue by that.

    Args:
        think_s: Pause between an answer and the next request, in seconds.
    """

    def __init__(self, think_s: float = 0.0) -> None:
        self._think_s = think_s
        self._under_way = Pool(1)

    def wait_s(self) -> float:
        """Returns the pause before the next request, in seconds."""
        return self._think_s

    def send(self, exchange: Callable[[float], None]) -> bool:
        """Sends, and waits for the answer."""
        # In a greenlet of its own: Locust may end a user that it takes for waiting just when a request begins.
        self._under_way.spawn(exchange, time.perf_counter())
        self._under_way.join()
        return True

    def finish(self, within_s: float) -> None:
        """Waits for the answer."""
        self._under_way.join(within_s)
        self._under_way.kill()


class OpenLoop:
    """Arrivals at random times (Poisson), independent of answers; those of many users add up to one such process.

    Args:
        rate_per_s: Mean arrivals a second.
        seed: Of the times; None for other ones in each run.
    """

    def __init__(self, rate_per_s: float, seed: int | None = None) -> None:
        self._random = random.Random(seed)  # noqa: S311 -- no secret
        self._rate_per_s = rate_per_s
        self._due = time.perf_counter()
        self._under_way = Pool(MOST_UNDER_WAY)

    def wait_s(self) -> float:
        """Returns the time to the next arrival; 0 when it is overdue."""
        self._due += self._random.expovariate(self._rate_per_s)
        return max(0.0, self._due - time.perf_counter())

    def send(self, exchange: Callable[[float], None]) -> bool:
        """Begins to send and returns at once; False if too many requests are under way."""
        if self._under_way.full():
            return False
        self._under_way.spawn(exchange, self._due)
        return True

    def finish(self, within_s: float) -> None:
        """Waits for the answers."""
        self._under_way.join(within_s)
        self._under_way.kill()
