"""Work that runs ahead of whoever takes its results: so many at a time, results in order."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def in_order(
    items: Iterable[T], work: Callable[[T], Coroutine[Any, Any, R]], most: int
) -> AsyncGenerator[R, None]:
    """Yields what `work` makes of each item, in the order of the items, however long each takes.

    Close it to cancel what is under way; it waits until that has ended.

    Args:
        items: Taken one at a time, as there is room.
        work: What it raises is raised when the item's turn comes.
        most: Most items under way, at least 1.
    """
    ahead: deque[asyncio.Task[R]] = deque()
    try:
        for item in items:
            ahead.append(asyncio.create_task(work(item)))
            if len(ahead) == most:
                yield await ahead.popleft()
        while ahead:
            yield await ahead.popleft()
    finally:
        for task in ahead:
            task.cancel()
        await asyncio.gather(*ahead, return_exceptions=True)
