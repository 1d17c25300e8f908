"""Which of OpenVINO's inference requests a batch is run with; a request holds the memory of one inference."""

import math
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

ANY = 0
"""Stands for any number of images in a batch."""

COMPANY_S = 0.1
"""So long after two calls ran side by side, none counts as alone: another will begin before it has ended."""

Queue: TypeAlias = queue.SimpleQueue[Any]


class Requests:
    """The requests of every network, lent to whoever runs a batch.

    Args:
        free: Images in a batch to the requests of the network for so many; `ANY` for the network that takes any.
    """

    def __init__(self, free: Mapping[int, Queue]) -> None:
        self._free = free
        self._lock = threading.Lock()
        self._users = 0
        self._side_by_side = -math.inf

    @contextmanager
    def borrow(self, images: int) -> Iterator[list[Any]]:
        """Lends one for so many images, or several to share them among; waits until one is free."""
        with self._lock:
            alone = self._is_alone(time.monotonic())
            self._users += 1
        free = self._choose(images, alone)
        requests = [free.get()]
        try:
            if alone:
                requests += _take(free, images - 1)
            yield requests
        finally:
            for request in requests:
                free.put(request)
            with self._lock:
                self._users -= 1
                if self._users:
                    self._side_by_side = time.monotonic()

    def _is_alone(self, now: float) -> bool:
        if self._users:
            self._side_by_side = now
        return now - self._side_by_side > COMPANY_S

    def _choose(self, images: int, alone: bool) -> Queue:
        # One image has its own network only while it is alone, a full batch only while it is not.
        own = alone if images == 1 else not alone
        return self._free.get(images if own else ANY, self._free[ANY])


def _take(free: Queue, most: int) -> list[Any]:
    """Returns what is free now, at most so many."""
    taken: list[Any] = []
    with suppress(queue.Empty):
        while len(taken) < most:
            taken.append(free.get_nowait())
    return taken


def run(requests: Sequence[Any], images: NDArray[np.uint8]) -> list[Any]:
    """Runs a batch, divided among the requests; returns the results in order, valid until a request is run again."""
    # Shared, not copied: the caller waits, and nobody else writes into its images.
    if len(requests) == 1:
        return [requests[0].infer({0: images}, share_inputs=True)]
    with ExitStack() as running:
        for request, part in zip(requests, np.array_split(images, len(requests)), strict=True):
            request.start_async({0: part}, share_inputs=True)
            running.callback(request.wait)
    return [request.results for request in requests]
