"""Which work is accepted, and which batch is next: the queue, the measured times, and what is running now.

Not safe for threads: `streams.py` guards it with one lock.
"""

import time
from dataclasses import dataclass
from typing import Literal, Self
from weakref import WeakKeyDictionary

from brainmri.batching.call import Call, Priority
from brainmri.batching.queue import Batch, Job, Queue
from brainmri.model.predictor import Predictor
from brainmri.settings import Settings

_WEIGHT = 0.2
"""Share of the newest measurement in the average: one hiccup moves it little, ten batches change it."""

_CAUTION = 1.2
"""Predicted times are stretched by this: of what is accepted at the limit, nearly all must be answered in time."""


class ServiceTimes:
    """Moving averages of the seconds per image, by model and batch size.

    The batch size matters on accelerators, where eight images take little longer than one.
    """

    def __init__(self) -> None:
        # Weak, so that a model that is no longer served is released.
        self._averages: WeakKeyDictionary[Predictor, dict[int, float]] = WeakKeyDictionary()

    def observe(self, predictor: Predictor, images: int, seconds: float) -> None:
        """Learns from one batch.

        Args:
            predictor: Which model ran.
            images: Images in the batch, at least 1.
            seconds: How long it took.
        """
        averages = self._averages.setdefault(predictor, {})
        measured = seconds / images
        previous = averages.get(size := _rounded(images), measured)
        averages[size] = previous + _WEIGHT * (measured - previous)

    def per_image(self, predictor: Predictor, images: int) -> float:
        """Returns the seconds per image in a batch of `images`, from the nearest size known; 0 before the first."""
        averages = self._averages.get(predictor)
        if not averages:
            return 0.0
        wanted = _rounded(max(images, 1))
        return averages[min(averages, key=lambda size: (abs(size.bit_length() - wanted.bit_length()), size))]


def _rounded(images: int) -> int:
    """Returns the largest power of two that is not above `images`, so that few sizes have averages of their own."""
    return 1 << (images.bit_length() - 1)


@dataclass(frozen=True)
class Batching:
    """How to batch.

    Attributes:
        max_batch_size: Most images in one inference, at least 1.
        max_queue_images: Most images that wait or are being decoded, at least 1.
        max_queue_delay_s: Longest time that an idle stream lets an image wait for others that are not in sight, in
            seconds; 0 on a CPU.
        streams: Batches that run at the same time, at least 1.
    """

    max_batch_size: int = 8
    max_queue_images: int = 256
    max_queue_delay_s: float = 0.0
    streams: int = 1

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Returns what the settings say."""
        return cls(
            max_batch_size=settings.max_batch_size,
            max_queue_images=settings.max_queue_images,
            max_queue_delay_s=settings.max_queue_delay_ms / 1e3,
            streams=settings.inference_streams(),
        )

    def room(self, priority: Priority) -> int:
        """Returns how many images may wait or be decoded when work of this priority is accepted, at least 1.

        Bulk work leaves a quarter of the queue to interactive work, or else one bulk caller would shut all others out.
        """
        return self.max_queue_images if priority is Priority.INTERACTIVE else max(self.max_queue_images * 3 // 4, 1)


@dataclass(frozen=True)
class Refusal:
    """Why work is not accepted, and in how many seconds all that was accepted before it will be done."""

    reason: Literal["queue_full", "deadline"]
    clear_in_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """A batch in a stream: since when, by `time.perf_counter`, and how long it should take, in seconds."""

    batch: Batch
    begun: float
    expected_s: float


class Schedule:
    """Decides; does nothing itself.

    Args:
        batching: How to batch.
    """

    def __init__(self, batching: Batching) -> None:
        self._batching = batching
        self._times = ServiceTimes()
        self.queue = Queue(batching.max_batch_size)
        self.running: dict[str, Run] = {}

    @property
    def in_flight(self) -> int:
        """Images that are being decoded, wait, or are in a stream."""
        return self.queue.occupied + sum(run.batch.images for run in self.running.values())

    def reserve(self, call: Call, images: int) -> Refusal | None:
        """Promises places to images that are about to be decoded.

        Args:
            call: The request that they belong to.
            images: How many, at least 1.

        Returns:
            None, or why nothing was promised.
        """
        refusal = self.refusal(call, images)
        if refusal is None:
            self.queue.reserve(call, images)
        return refusal

    def refusal(self, call: Call, images: int) -> Refusal | None:
        """Returns why `reserve` would promise nothing now; None if it would. Changes nothing."""
        ahead_s = self._ahead_s(call.priority)
        own_s = images * self._times.per_image(call.predictor, images) / self._batching.streams
        occupied = self.queue.occupied
        # A request larger than the queue is taken while nothing waits, or else it never would be.
        if occupied and occupied + images > self._batching.room(call.priority):
            return Refusal("queue_full", ahead_s)
        # With nothing ahead it is always tried, so that one slow measurement cannot refuse work for ever.
        if ahead_s and (ahead_s + own_s) * _CAUTION > call.deadline.remaining_s:
            return Refusal("deadline", ahead_s)
        return None

    def queue_delay_s(self) -> float | None:
        """Returns how long the next batch should still wait for more images, in seconds; None when nothing waits.

        While other images of its queue are being decoded it waits for them, at most as long as one image alone takes in
        the network: a batch that leaves without them would be in their way for longer than that.
        """
        queue = self.queue.next_model_queue()
        if queue is None:
            return None
        if self.queue.is_full(queue):
            return 0.0
        head = queue.head
        alone_s = self._times.per_image(head.call.predictor, 1)
        wait_s = max(self._batching.max_queue_delay_s, alone_s if queue.reserved else 0.0)
        # Twice: what the decoded images take may be learned from an inference that had the CPUs for itself.
        return max(min(head.arrived + wait_s, head.call.deadline.at - 2 * alone_s) - time.monotonic(), 0.0)

    def begin(self, stream: str) -> Batch | None:
        """Gives the next batch to a stream; None when nothing waits."""
        batch = self.queue.take(time.monotonic())
        if batch is not None:
            expected_s = batch.images * self._times.per_image(batch.predictor, batch.images)
            self.running[stream] = Run(batch, time.perf_counter(), expected_s)
        return batch

    def end(self, stream: str, seconds: float) -> None:
        """Learns that the batch of a stream has been run, and how long that took."""
        batch = self.running.pop(stream).batch
        if batch.parts:
            self._times.observe(batch.predictor, batch.images, seconds)

    def clear(self, stream: str) -> list[Job]:
        """Forgets and returns the jobs in a stream and in the queue, because nobody will run them."""
        run = self.running.pop(stream, None)
        jobs = [part.job for part in run.batch.parts] + run.batch.late if run else []
        return jobs + self.queue.clear()

    def _ahead_s(self, priority: Priority) -> float:
        waiting_s = sum(
            images * self._times.per_image(predictor, min(images, self._batching.max_batch_size))
            for predictor, images in self.queue.ahead_of(priority)
        )
        now = time.perf_counter()
        running_s = sum(max(run.expected_s - (now - run.begun), 0.0) for run in self.running.values())
        return (waiting_s + running_s) / self._batching.streams
