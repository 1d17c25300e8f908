"""The images of one archive, scored in order through the service's own queue."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from functools import partial

from brainmri.batching.call import Deadline
from brainmri.blocking import Stop, Threads
from brainmri.bulk.archives.archive import Archive, Member
from brainmri.bulk.archives.members import shown
from brainmri.bulk.rows import Row
from brainmri.bulk.scorer import Loaded, Scorer, loaded
from brainmri.bulk.uploads import member_item
from brainmri.bulk.window import in_order
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

    def scored(self) -> AsyncGenerator[Row, None]:
        """Returns a row for each member; close it to stop the work.

        Raises:
            NotReady: The service is to end.
            DeadlineExceeded: The deadline has passed.
        """
        return in_order(self.members, self._score, self._scorer.lane.images)

    async def _score(self, member: Member) -> Row:
        async def read() -> Loaded:
            async with self._reading:
                try:
                    return await self._threads.run(loaded, partial(self._archive.read, member), stop=self._stop)
                except OSError as error:
                    raise SourceUnreadable(
                        f"{shown(member.name)} cannot be read from the server's disk: {error.strerror}. Try again."
                    ) from error

        return await self._scorer.row(member_item(member), read, self._deadline)
