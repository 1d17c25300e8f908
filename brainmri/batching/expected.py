"""Requests that were let in and have not asked for their places yet, because their bodies are still being read."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

PATIENCE_S = 0.1
"""So long an upload counts. Most have come by then; a slow one must not keep others out."""

_entry: ContextVar[object | None] = ContextVar("expected_entry", default=None)
"""What stands for the request that is being answered."""


class Expected:
    """Counts them, so that a hundred requests that come at once do not all go in for one free place.

    Not for threads: only the event loop calls it.
    """

    def __init__(self) -> None:
        self._since: dict[object, float] = {}

    @contextmanager
    def one(self) -> Iterator[None]:
        """Counts a request until it arrives, for `PATIENCE_S` at most."""
        entry = object()
        self._since[entry] = time.monotonic()
        token = _entry.set(entry)
        try:
            yield
        finally:
            _entry.reset(token)
            self._since.pop(entry, None)

    def arrive(self) -> None:
        """Ends the counting of the request that is being answered; it asks for its places itself now."""
        self._since.pop(_entry.get(), None)

    def __len__(self) -> int:
        """Returns how many there are."""
        overdue = time.monotonic() - PATIENCE_S
        # In order of time, so the first one that is not overdue ends the search.
        while self._since and next(iter(self._since.values())) < overdue:
            del self._since[next(iter(self._since))]
        return len(self._since)
