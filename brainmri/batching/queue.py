"""What waits for the network, in the order in which it will be run; free of threads and clocks."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from brainmri.batching.call import Call, Priority
from brainmri.model.predictor import Predictor
from brainmri.model.runtimes.protocol import Output

BULK_TURN = 8
"""While interactive work keeps coming, bulk work gets every eighth batch, so it is slowed down but never stopped."""


@dataclass(frozen=True)
class Answer:
    """The network's output for one request.

    Attributes:
        output: One row for each image of the request, in order.
        begun: When its first image went to the network, by `time.perf_counter`, in seconds.
        done: When its last image came back, on the same clock.
    """

    output: Output
    begun: float
    done: float


@dataclass(eq=False, slots=True)
class Job:
    """One request that waits.

    Attributes:
        call: The request that it belongs to.
        images: uint8 `[B, 299, 299, 3]`.
        future: Where the answer goes; belongs to the event loop.
        arrived: When it came, by `time.monotonic`, in seconds.
        taken: Images that went to a stream.
        parts: First image to output, for what came back.
        begun: See `Answer`; 0 while none of it has been run.
        closed: Nobody waits for it any more, or it has its answer.
    """

    call: Call
    images: NDArray[np.uint8]
    future: asyncio.Future[Answer]
    arrived: float
    taken: int = 0
    parts: dict[int, Output] = field(default_factory=dict)
    begun: float = 0.0
    closed: bool = False

    @property
    def waiting(self) -> int:
        """Images that no stream has taken yet."""
        return 0 if self.closed else len(self.images) - self.taken

    def add(self, start: int, output: Output) -> Output | None:
        """Keeps the output of the images from `start` on; returns the whole output once nothing is missing."""
        self.parts[start] = output
        if sum(len(part.logits) for part in self.parts.values()) < len(self.images):
            return None
        return Output.join([self.parts[first] for first in sorted(self.parts)])


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive images of one job: all of them, or what fits into the batch."""

    job: Job
    start: int
    stop: int

    @property
    def images(self) -> NDArray[np.uint8]:
        """uint8 `[stop - start, 299, 299, 3]`, without a copy."""
        return self.job.images[self.start : self.stop]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one stream runs next; the images of one model only.

    Attributes:
        predictor: The model.
        parts: In order of arrival; empty if everything that waited was late.
        late: Jobs that were passed over because their deadline has gone by.
    """

    predictor: Predictor
    parts: list[Part]
    late: list[Job]

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(part.stop - part.start for part in self.parts)


@dataclass(eq=False, slots=True)
class ModelQueue:
    """The jobs of one model and priority, first come, first served.

    Attributes:
        jobs: Those with images that wait.
        images: Images that wait.
        reserved: Images that have been promised a place and are still being decoded.
    """

    jobs: OrderedDict[Job, None] = field(default_factory=OrderedDict)
    images: int = 0
    reserved: int = 0

    @property
    def head(self) -> Job:
        """The job that came first; there must be one."""
        return next(iter(self.jobs))


class Queue:
    """Everything that waits, one queue for each model and priority.

    The next batch goes to the queue whose first job came first, so no model starves another.

    Args:
        max_batch_size: Most images in one batch.
    """

    def __init__(self, max_batch_size: int) -> None:
        self._max_batch_size = max_batch_size
        self._queues: dict[tuple[Priority, Predictor], ModelQueue] = {}
        self._in_a_row = 0

    def reserve(self, call: Call, images: int) -> None:
        """Promises places to images that are yet to come; a negative number gives them back."""
        self._queue_of(call).reserved += images
        self._drop_if_idle(call)

    def add(self, job: Job) -> None:
        """Puts a job at the end of its queue, on the places that were reserved for it."""
        queue = self._queue_of(job.call)
        queue.reserved -= len(job.images)
        queue.images += len(job.images)
        queue.jobs[job] = None

    def discard(self, job: Job) -> None:
        """Closes a job, wherever it is; what has not been run of it never will be."""
        queue = self._queues.get(_key(job.call))
        if queue is not None and job in queue.jobs:
            queue.images -= job.waiting
            del queue.jobs[job]
            self._drop_if_idle(job.call)
        job.closed = True

    def clear(self) -> list[Job]:
        """Closes and returns every job that waits."""
        jobs = [job for queue in self._queues.values() for job in queue.jobs]
        for job in jobs:
            self.discard(job)
        return jobs

    @property
    def waiting(self) -> int:
        """Images that wait."""
        return sum(queue.images for queue in self._queues.values())

    @property
    def occupied(self) -> int:
        """Places that are taken: images that wait, and those that are promised one."""
        return sum(queue.images + queue.reserved for queue in self._queues.values())

    @property
    def oldest(self) -> float | None:
        """When the job that has waited longest came, by `time.monotonic`; None when nothing waits."""
        return min((queue.head.arrived for queue in self._queues.values() if queue.jobs), default=None)

    def ahead_of(self, priority: Priority) -> Iterator[tuple[Predictor, int]]:
        """Yields each model with the images that would be run before a new job of this priority."""
        for (other, predictor), queue in self._queues.items():
            if other <= priority:
                yield predictor, queue.images + queue.reserved

    def next_model_queue(self) -> ModelQueue | None:
        """Returns the queue whose turn it is; None when nothing waits."""
        queues = {key: queue for key, queue in self._queues.items() if queue.jobs}
        if not queues:
            return None
        priorities = {priority for priority, _ in queues}
        bulk = self._in_a_row >= BULK_TURN - 1
        turn = max(priorities) if bulk else min(priorities)
        return min(
            (queue for (priority, _), queue in queues.items() if priority is turn), key=lambda queue: queue.head.arrived
        )

    def take(self, now: float) -> Batch | None:
        """Removes and returns the next batch; None when nothing waits.

        Args:
            now: The present, by `time.monotonic`, in seconds.
        """
        queue = self.next_model_queue()
        if queue is None:
            return None
        call = queue.head.call
        self._count_turn(call.priority)
        batch = Batch(call.predictor, [], [])
        room = self._largest(call.predictor)
        while queue.jobs and room:
            job = queue.head
            if job.call.deadline.at <= now:
                batch.late.append(job)
                self.discard(job)
                continue
            part = Part(job, job.taken, min(job.taken + room, len(job.images)))
            count = part.stop - part.start
            batch.parts.append(part)
            room -= count
            queue.images -= count
            job.taken = part.stop
            if not job.waiting:
                del queue.jobs[job]
        self._drop_if_idle(call)
        return batch

    def is_full(self, queue: ModelQueue) -> bool:
        """Tells whether more images would not fit into the queue's next batch."""
        return queue.images >= self._largest(queue.head.call.predictor)

    def _largest(self, predictor: Predictor) -> int:
        sizes = predictor.runtime_info.batch_sizes
        return min(self._max_batch_size, sizes[-1]) if sizes else self._max_batch_size

    def _count_turn(self, priority: Priority) -> None:
        bulk_waits = any(queue.jobs for (other, _), queue in self._queues.items() if other is Priority.BULK)
        self._in_a_row = self._in_a_row + 1 if priority is Priority.INTERACTIVE and bulk_waits else 0

    def _queue_of(self, call: Call) -> ModelQueue:
        return self._queues.setdefault(_key(call), ModelQueue())

    def _drop_if_idle(self, call: Call) -> None:
        # An empty queue would keep a model alive that is no longer served.
        queue = self._queues.get(_key(call))
        if queue is not None and not queue.jobs and not queue.reserved:
            del self._queues[_key(call)]


def _key(call: Call) -> tuple[Priority, Predictor]:
    return call.priority, call.predictor
