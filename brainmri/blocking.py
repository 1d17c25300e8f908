"""Blocking work in threads: each kind has threads of its own, and none goes on when nobody waits for it.

A thread cannot be cancelled. Whatever may take long asks its `Stop` every few milliseconds, and a caller that is
cancelled waits for that: what the work holds (memory, a file, a place in a limit) is free when the request has ended.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """Nobody waits for this work any more."""


class Stop:
    """Tells blocking work that nobody waits for it any more."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Tells it."""
        self._event.set()

    def is_set(self) -> bool:
        """Tells whether somebody did."""
        return self._event.is_set()

    def check(self) -> None:
        """Ends work that nobody waits for.

        Raises:
            Stopped: Nobody does.
        """
        if self._event.is_set():
            raise Stopped


NEVER = Stop()
"""For work that somebody waits for however long it takes; it is never set."""


class Threads:
    """The threads of one kind of blocking work; they start when they are needed.

    Args:
        kind: Names the threads.
        most: Most of them, at least 1. Work beyond waits for one of them.
    """

    def __init__(self, kind: str, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix=kind)

    async def run(self, work: Callable[..., T], *arguments: object, stop: Stop | None = None) -> T:
        """Returns what `work(*arguments)` returns. A caller that is cancelled waits until the work has ended.

        Args:
            work: Runs in a thread.
            arguments: Its arguments.
            stop: Is set when the caller is cancelled; work that takes longer than a moment asks it.
        """
        future = self._pool.submit(work, *arguments)
        waiting = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if stop is not None:
                stop.set()
            if not future.cancel():
                await _ended(waiting)
            raise

    def close(self) -> None:
        """Ends the threads that have nothing to do, and the others once they have ended their work."""
        self._pool.shutdown(wait=False)


async def _ended(waiting: "asyncio.Future[T]") -> None:
    """Waits until the work has ended, and takes what it raised; a second cancellation changes nothing."""
    while not waiting.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait((waiting,))
    waiting.exception()
