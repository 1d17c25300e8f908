"""One image of bulk work: read, hashed, through the service's queue, and its row."""

from collections.abc import Awaitable, Callable

from brainmri.batching.bulk_limiter import BulkLimiter
from brainmri.batching.call import Call, Deadline, Priority
from brainmri.bulk.items import Item
from brainmri.bulk.loaded import Loaded
from brainmri.bulk.rows import Row, answered, failed
from brainmri.errors import InferenceFailed, InvalidInput
from brainmri.imaging import ReadOptions
from brainmri.model.predictor import Predictor
from brainmri.observe.metrics import Metrics
from brainmri.observe.request_record import RequestRecord

Read = Callable[[], Awaitable[Loaded]]


class Scorer:
    """Makes rows on the event loop.

    Args:
        limiter: Limits how much of the engine bulk work takes.
        predictor: Which model answers.
        metrics: The metrics of this process.
        record: Of the request that brought the images; None for those of a job.
        force: Answers also for DICOM objects that say they are not MRI of a head.
    """

    def __init__(
        self,
        limiter: BulkLimiter,
        predictor: Predictor,
        metrics: Metrics,
        record: RequestRecord | None = None,
        *,
        force: bool = False,
    ) -> None:
        self.limiter = limiter
        self.predictor = predictor
        self._metrics = metrics
        self._record = record
        self._force = force

    async def row(self, item: Item, read: Read, deadline: Deadline) -> Row:
        """Returns the row of one image; whatever is wrong with the image itself is a row as well.

        Args:
            item: What it is called.
            read: Gives its bytes; called once there is a place for it.
            deadline: When nobody waits for it any more.

        Raises:
            NotReady: The service is to end.
            DeadlineExceeded: The deadline has passed.
        """
        call = Call(self.predictor, deadline, Priority.BULK, self._record, ReadOptions(item.frame, self._force))
        sha256 = None
        async with self.limiter.place():
            try:
                image = await read()
                sha256 = image.sha256
                prediction = await self.limiter.predict(call, image.data)
            except (InvalidInput, InferenceFailed) as error:
                self._metrics.count_error(error)
                return failed(item, sha256, error, self.predictor.model)
        self._metrics.observe_prediction(prediction, self._record)
        return answered(item, image.sha256, prediction)
