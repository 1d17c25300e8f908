"""The images of one archive, scored in order through the service's own queue."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from functools import partial

from brainmri.batching.call import Deadline
from brainmri.blocking import Stop, Threads
from brainmri.bulk.archives.archive import Archive
from brainmri.bulk.archives.members import shown
from brainmri.bulk.items import Item
from brainmri.bulk.loaded import LastRead, Loaded, loaded
from brainmri.bulk.rows import Row
from brainmri.bulk.scorer import Scorer
from brainmri.bulk.window import in_order
from brainmri.errors import SourceUnreadable


class ArchiveRows:
    """Rows in the order of the archive, however long each takes.

    Args:
        archive: Open as long as rows are read.
        items: Which of its images to score.
        scorer: Makes each row.
        deadline: When the caller stops waiting.
        threads: Those that read archives.
        stop: Ends the reading of this one.
    """

    def __init__(
        self,
        archive: Archive,
        items: Sequence[Item],
        scorer: Scorer,
        deadline: Deadline,
        threads: Threads,
        stop: Stop,
    ) -> None:
        self.items = items
        self._members = {member.name: member for member in archive.members}
        self._last = LastRead()
        self.predictor = scorer.predictor
        self._archive = archive
        self._scorer = scorer
        self._deadline = deadline
        self._threads = threads
        self._stop = stop
        # A compressed tar is read in its order, or from its beginning again.
        self._reading = asyncio.Lock()

    def scored(self) -> AsyncGenerator[Row, None]:
        """Returns a row for each item; close it to stop the work.

        Raises:
            NotReady: The service is to end.
            DeadlineExceeded: The deadline has passed.
        """
        return in_order(self.items, self._score, self._scorer.limiter.images)

    async def _score(self, item: Item) -> Row:
        async def read() -> Loaded:
            async with self._reading:
                try:
                    return await self._threads.run(self._load, item, stop=self._stop)
                except OSError as error:
                    raise SourceUnreadable(
                        f"{shown(item.path)} cannot be read from the server's disk: {error.strerror}. Try again."
                    ) from error

        return await self._scorer.row(item, read, self._deadline)

    def _load(self, item: Item) -> Loaded:
        read = partial(self._archive.read, self._members[item.member or ""])
        return loaded(read) if item.frame is None else self._last.get(item.member, read)
