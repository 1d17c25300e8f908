"""Previews of files beside the predictions: threads of their own, so many at a time, and so many that wait."""

from brainmri.batching.admission import Slots
from brainmri.batching.call import Call
from brainmri.blocking import Threads
from brainmri.errors import Overloaded
from brainmri.imaging import PREVIEW_SIDE, Preview


class Previews:
    """Draws previews; for the event loop alone.

    Args:
        threads: Most previews drawn at a time, at least 1.
        most: Most previews that are drawn or wait for a thread.
    """

    def __init__(self, threads: int, most: int) -> None:
        self._threads = Threads("preview", threads)
        self._slots = Slots(most, most, _too_many)

    async def draw(self, data: bytes, call: Call, most_side: int = PREVIEW_SIDE) -> Preview:
        """Returns what the network sees of a file. A caller that is cancelled waits until its thread is free.

        Args:
            data: The bytes of an image file.
            call: By which model's limits, and by when.
            most_side: Most pixels of the longer side.

        Raises:
            Overloaded: As many previews as may be are under way.
            DeadlineExceeded: The deadline passed before a thread was free.
            InvalidInput: The image is refused.
        """
        with self._slots.one(client=""):
            return await self._threads.run(_draw, data, call, most_side)


def _too_many(most: int, _of_client: bool) -> Overloaded:
    message = f"{most} previews are under way, the most that are taken. Try again in a second."
    return Overloaded(message, retry_after_s=1.0, limit=f"{most} previews")


def _draw(data: bytes, call: Call, most_side: int) -> Preview:
    if call.deadline.remaining_s <= 0:
        raise call.deadline.exceeded()
    return call.predictor.preview(data, call.options, most_side)
