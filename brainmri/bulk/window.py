"""Work that runs ahead of whoever takes its results: so many at a time, results in order."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable
from contextlib import aclosing
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def in_order(
    items: Iterable[T] | AsyncIterable[T], work: Callable[[T], Coroutine[Any, Any, R]], most: int
) -> AsyncGenerator[R, None]:
    """Yields what `work` makes of each item, in the order of the items, however long each takes.

    Close it to cancel what is under way; it waits until that has ended.

    Args:
        items: Taken one at a time, as there is room. While an asynchronous one waits for its next item, results of
            earlier ones are still yielded. What it raises is raised after them.
        work: What it raises is raised when the item's turn comes.
        most: Most items under way or not taken yet, at least 1.
    """
    begun: asyncio.Queue[asyncio.Task[R] | None] = asyncio.Queue()
    under_way: set[asyncio.Task[R]] = set()
    room = asyncio.Semaphore(most)

    async def begin() -> None:
        try:
            async with aclosing(_each(items)) as each:
                await room.acquire()
                async for item in each:
                    task = asyncio.create_task(work(item))
                    under_way.add(task)
                    begun.put_nowait(task)
                    await room.acquire()
        finally:
            begun.put_nowait(None)

    beginning = asyncio.create_task(begin())
    try:
        while (task := await begun.get()) is not None:
            yield await task
            under_way.remove(task)
            room.release()
        await beginning
    finally:
        for other in (beginning, *under_way):
            other.cancel()
        await asyncio.gather(beginning, *under_way, return_exceptions=True)


async def _each(items: Iterable[T] | AsyncIterable[T]) -> AsyncGenerator[T, None]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
