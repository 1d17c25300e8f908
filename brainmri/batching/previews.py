"""Previews of files beside the predictions, on threads of their own; admission says how many are taken."""

from brainmri.batching.admission import Slots
from brainmri.batching.call import Call
from brainmri.blocking import Threads
from brainmri.imaging import PREVIEW_SIDE, Preview


class Previews:
    """Draws previews; for the event loop alone.

    Args:
        threads: Most previews drawn at a time, at least 1.
        slots: One for each preview that is drawn or waits for a thread; see `Admission.previews`.
    """

    def __init__(self, threads: int, slots: Slots) -> None:
        self._threads = Threads("preview", threads)
        self._slots = slots

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


def _draw(data: bytes, call: Call, most_side: int) -> Preview:
    if call.deadline.remaining_s <= 0:
        raise call.deadline.exceeded()
    return call.predictor.preview(data, call.options, most_side)
