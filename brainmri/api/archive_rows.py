"""The images of one archive, scored in order through the service's own queue."""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Sequence

import numpy as np

from brainmri.errors import InferenceFailed, InvalidInput
from brainmri.inference.bulk_lane import BulkLane
from brainmri.inference.deadline import Deadline
from brainmri.inference.predictor import Predictor
from brainmri.metrics import Metrics
from brainmri.scoring.archives import Archive, Member
from brainmri.scoring.items import item_id
from brainmri.scoring.results import json_line
from brainmri.scoring.rows import Row, answered, failed, values


class ArchiveRows:
    """Rows in the order of the members, however long each takes.

    Args:
        archive: Open as long as rows are read.
        members: Which of its files to score.
        lane: The way to the engine.
        predictor: Which model answers.
        deadline: When the caller stops waiting.
        metrics: What counts.
    """

    def __init__(
        self,
        archive: Archive,
        members: Sequence[Member],
        lane: BulkLane,
        predictor: Predictor,
        deadline: Deadline,
        metrics: Metrics,
    ) -> None:
        self.members = members
        self.predictor = predictor
        self._archive = archive
        self._lane = lane
        self._deadline = deadline
        self._metrics = metrics
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
                if len(ahead) == self._lane.images:
                    yield await ahead.popleft()
            while ahead:
                yield await ahead.popleft()
        finally:
            for task in ahead:
                task.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)

    async def _score(self, member: Member) -> Row:
        identity, sha256 = item_id(member.name), ""
        async with self._lane.place():
            try:
                async with self._reading:
                    data = await asyncio.to_thread(self._archive.read, member)
                sha256 = await asyncio.to_thread(_sha256, data)
                prediction = await self._lane.predict(data, self._deadline, self.predictor)
            except (InvalidInput, InferenceFailed) as error:
                self._metrics.count_error(error)
                return failed(identity, member.name, sha256 or None, error, self.predictor.model)
        self._metrics.observe_prediction(prediction)
        return answered(identity, member.name, sha256, prediction)


def row_line(row: Row) -> bytes:
    """Returns a row as `brainmri score` writes it: its numbers are of the precision of Parquet's columns."""
    return json_line(
        {name: float(np.float32(value)) if isinstance(value, float) else value for name, value in values(row).items()}
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
