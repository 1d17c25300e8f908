"""The images of one archive, scored in order through the service's own queue."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence

import numpy as np

from brainmri.batching.deadline import Deadline
from brainmri.blocking import Stop, Threads
from brainmri.bulk.archives.archive import Archive, Member
from brainmri.bulk.archives.members import shown
from brainmri.bulk.items import Item, item_id
from brainmri.bulk.rows import Row, json_line, values
from brainmri.bulk.scorer import Scorer
from brainmri.errors import SourceUnreadable


class ArchiveRows:
    """Rows in the order of the members, however long each takes.

    Args:
        archive: Open as long as rows are read.
        members: Which of its files to score.
        scorer: Makes each row.
        deadline: When the caller stops waiting.
        threads: Those that read archives.
        stop: Ends the reading of this one.
    """

    def __init__(
        self,
        archive: Archive,
        members: Sequence[Member],
        scorer: Scorer,
        deadline: Deadline,
        threads: Threads,
        stop: Stop,
    ) -> None:
        self.members = members
        self.predictor = scorer.predictor
        self._archive = archive
        self._scorer = scorer
        self._deadline = deadline
        self._threads = threads
        self._stop = stop
        # A compressed tar is read in its order, or from its beginning again.
        self._reading = asyncio.Lock()

    async def scored(self) -> AsyncGenerator[Row, None]:
        """Yields a row for each member; close it to stop the work.

        Raises:
            NotReady: The service is to end.
            DeadlineExceeded: The deadline has passed.
        """
        ahead: deque[asyncio.Task[Row]] = deque()
        try:
            for member in self.members:
                ahead.append(asyncio.create_task(self._score(member)))
                if len(ahead) == self._scorer.lane.images:
                    yield await ahead.popleft()
            while ahead:
                yield await ahead.popleft()
        finally:
            for task in ahead:
                task.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)

    async def _score(self, member: Member) -> Row:
        async def read() -> bytes:
            async with self._reading:
                try:
                    return await self._threads.run(self._archive.read, member, stop=self._stop)
                except OSError as error:
                    raise SourceUnreadable(
                        f"{shown(member.name)} cannot be read from the server's disk: {error.strerror}. Try again."
                    ) from error

        item = Item(item_id(member.name), member.name, "", member.name)
        return await self._scorer.row(item, read, self._deadline)


def row_line(row: Row) -> bytes:
    """Returns a row as `brainmri score` writes it: its numbers are of the precision of Parquet's columns."""
    return json_line(
        {name: float(np.float32(value)) if isinstance(value, float) else value for name, value in values(row).items()}
    )
