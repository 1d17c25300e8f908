"""Scores the shards of a job through the service's own queue: a second model in the process would double its memory."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import aclosing
from pathlib import Path

from brainmri.batching.call import Deadline
from brainmri.blocking import Stop, Stopped, Threads
from brainmri.bulk.child import Part, part_of
from brainmri.bulk.items import Item
from brainmri.bulk.jobs.inputs import require_below
from brainmri.bulk.loaded import Loaded
from brainmri.bulk.pipeline import ShardRows
from brainmri.bulk.rows import Row
from brainmri.bulk.scorer import Scorer
from brainmri.bulk.sources import Sources
from brainmri.bulk.window import in_order
from brainmri.errors import DeadlineExceeded
from brainmri.model.predictor import ModelIdentity

_PATIENCE_S = 60.0
"""For one image; then it is offered again. Behind a steady stream of interactive work it may wait for long."""


class ServiceEngine:
    """What `brainmri.bulk.run.score` drives, in a thread of its own, while the event loop does the work.

    Args:
        scorer: Makes each row.
        sources: Reads the images.
        loop: The event loop.
        stop: Set once the job is not to go on now: the service ends, or the job was deleted.
        root: Files must lie below it when they are read; None for an archive that was uploaded.
    """

    def __init__(
        self,
        scorer: Scorer,
        sources: Sources,
        loop: asyncio.AbstractEventLoop,
        stop: Stop,
        root: Path | None,
    ) -> None:
        self._scorer = scorer
        self._sources = sources
        self._loop = loop
        self._stop = stop
        self._root = root
        self._reading = asyncio.Lock()
        self._threads = Threads("job-read", scorer.limiter.images)

    def close(self) -> None:
        """Ends the threads that read."""
        self._threads.close()

    @property
    def model(self) -> ModelIdentity:
        """Which model answers."""
        return self._scorer.predictor.model

    def run(self, shards: Iterable[tuple[int, list[Item]]]) -> Iterator[Part]:
        """Yields the part of each shard, in order.

        Raises:
            Stopped: The shard that was begun is not stored, and will be scored again.
            NotReady: The service is to end; likewise.
        """
        for number, items in shards:
            self._stop.check()
            rows = asyncio.run_coroutine_threadsafe(self._rows(items), self._loop)
            try:
                yield part_of(ShardRows(number, rows.result()))
            except CancelledError:
                # The event loop ends, and with it the process.
                raise Stopped from None

    async def _rows(self, items: Iterable[Item]) -> list[Row]:
        async with aclosing(in_order(items, self._row, self._scorer.limiter.images)) as rows:
            return [row async for row in rows]

    async def _row(self, item: Item) -> Row:
        image: Loaded | None = None

        async def read() -> Loaded:
            nonlocal image
            if image is None:
                image = await self._read(item)
            return image

        while True:
            try:
                return await self._scorer.row(item, read, Deadline.after(_PATIENCE_S))
            except DeadlineExceeded:
                self._stop.check()

    async def _read(self, item: Item) -> Loaded:
        self._stop.check()
        # Members of an archive are read in their order: a compressed tar is fast in that one only.
        async with self._reading:
            load = await self._threads.run(self._sources.prepare, item, stop=self._stop)
        return await self._threads.run(self._load, item, load, stop=self._stop)

    def _load(self, item: Item, load: Callable[[], Loaded]) -> Loaded:
        if self._root is not None and item.member is None:
            require_below(self._root, Path(item.location))
        return load()
