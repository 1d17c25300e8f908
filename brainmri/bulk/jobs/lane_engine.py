"""Scores the shards of a job through the service's own queue: a second model in the process would double its memory."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path

from brainmri.batching.deadline import Deadline
from brainmri.blocking import Stop, Stopped
from brainmri.bulk.child import Part, part_of
from brainmri.bulk.items import Item
from brainmri.bulk.jobs.inputs import require_below
from brainmri.bulk.pipeline import ShardRows
from brainmri.bulk.rows import Row
from brainmri.bulk.scorer import Scorer
from brainmri.bulk.sources import Sources
from brainmri.errors import DeadlineExceeded
from brainmri.model.predictor import ModelIdentity

_PATIENCE_S = 60.0
"""For one image; then it is offered again. Behind a steady stream of interactive work it may wait for long."""


class LaneEngine:
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
            yield part_of(ShardRows(number, list(self._rows(items))))

    def _rows(self, items: Iterable[Item]) -> Iterator[Row]:
        ahead: deque[Future[Row]] = deque()
        try:
            for item in items:
                self._stop.check()
                load = self._prepared(item)
                ahead.append(asyncio.run_coroutine_threadsafe(self._row(item, load), self._loop))
                if len(ahead) == self._scorer.lane.images:
                    yield _result(ahead.popleft())
            while ahead:
                yield _result(ahead.popleft())
        finally:
            for future in ahead:
                future.cancel()

    def _prepared(self, item: Item) -> Callable[[], bytes]:
        # Members of an archive are read here, in their order.
        load = self._sources.prepare(item)
        if self._root is None or item.member is not None:
            return load
        root = self._root

        def load_below() -> bytes:
            require_below(root, Path(item.location))
            return load()

        return load_below

    async def _row(self, item: Item, load: Callable[[], bytes]) -> Row:
        while True:
            try:
                return await self._scorer.row(item, lambda: asyncio.to_thread(load), Deadline.after(_PATIENCE_S))
            except DeadlineExceeded:
                self._stop.check()


def _result(future: "Future[Row]") -> Row:
    try:
        return future.result()
    except CancelledError:
        # The event loop ends, and with it the process.
        raise Stopped from None
