"""Callers that keep a server busy from threads, and keep a record of every request."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Outcome:
    """One request: when it began, by `time.monotonic`, and what came of it."""

    begun: float
    result: object


@dataclass
class Record:
    """Every outcome so far."""

    outcomes: list[Outcome] = field(default_factory=list)

    def results(self, until: float = float("inf")) -> list[object]:
        """Returns what came of the requests that began before `until`."""
        return [outcome.result for outcome in self.outcomes if outcome.begun < until]


@contextmanager
def calling(call: Callable[[], object], callers: int) -> Iterator[Record]:
    """Lets so many threads call again and again; at the end each request has its outcome. `call` raises nothing."""
    record, over = Record(), threading.Event()

    def keep_calling() -> None:
        while not over.is_set():
            begun = time.monotonic()
            record.outcomes.append(Outcome(begun, call()))

    threads = [threading.Thread(target=keep_calling) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield record
    finally:
        over.set()
        for thread in threads:
            thread.join()
