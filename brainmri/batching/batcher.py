"""The adaptive batcher: one bounded queue for every interface, in front of the lanes that run the network.

A lane that is idle takes what has come at once; while it is busy, what comes gathers into the next batch. Interactive
work goes before bulk work, which keeps every eighth batch (`backlog.BULK_TURN`); within a priority the model whose
request came first is next, so none starves.

Work is accepted before it is decoded. It is refused at once when there is no place for it or when it could not be done
in time; and it is not run when its caller has gone or its deadline has passed meanwhile.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmri.batching.backlog import Answer, Job
from brainmri.batching.deadline import Deadline, Priority
from brainmri.batching.expected import Expected
from brainmri.batching.lanes import Answers, Lanes
from brainmri.batching.observer import Observer, Unobserved
from brainmri.batching.schedule import Batching, Refusal
from brainmri.errors import BrainMRIError, DeadlineExceeded, NotReady, Overloaded
from brainmri.model.predictor import Predictor

_REPORT_S = 0.5
_SHORTEST_RETRY_S = 0.1

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hold:
    """What a request was promised places for: so many images of one model, until the deadline."""

    predictor: Predictor
    images: int
    deadline: Deadline
    priority: Priority


class Batcher:
    """Gathers requests into batches; belongs to one event loop.

    Args:
        batching: How to batch.
        observer: What counts; nothing if None. May be replaced.

    Attributes:
        expected: Requests that will ask for places soon.
    """

    def __init__(self, batching: Batching, observer: Observer | None = None) -> None:
        self._batching = batching
        self.observer = observer or Unobserved()
        self._lanes = Lanes(batching, self._deliver)
        self._accepted = 0
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._reports: asyncio.Task[None] | None = None
        self._waking = False
        self.expected = Expected()

    def start(self) -> None:
        """Starts the lanes, for the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._reports = asyncio.create_task(self._report())
        self._lanes.start()

    @property
    def alive(self) -> bool:
        """Whether no lane has died and none is stuck; a restart of the process helps when it is False."""
        return self._lanes.alive

    def admit(
        self, predictor: Predictor, images: int, deadline: Deadline, priority: Priority = Priority.INTERACTIVE
    ) -> "Ticket":
        """Takes places in the queue for images that are about to be decoded.

        Args:
            predictor: The model that will run them.
            images: How many, at least 1.
            deadline: When the caller stops waiting.
            priority: Which work goes first.

        Returns:
            The places; give them back by using it as a context manager.

        Raises:
            NotReady: Draining, or a lane has died.
            Overloaded: The queue is full, or the work would not be done before the deadline.
            DeadlineExceeded: The deadline has passed.
        """
        self.expected.arrive()
        self._ask(self._lanes.reserve, predictor, images, deadline, priority)
        self._accepted += 1
        self._idle.clear()
        return Ticket(self, self._lanes, Hold(predictor, images, deadline, priority))

    def require_room(
        self, predictor: Predictor, images: int, deadline: Deadline, priority: Priority = Priority.INTERACTIVE
    ) -> None:
        """Raises what `admit` would raise now; takes no place."""
        self._ask(self._lanes.refusal, predictor, images, deadline, priority)

    def room_in_s(self, predictor: Predictor, images: int, deadline: Deadline, priority: Priority) -> float | None:
        """Returns when to ask `admit` for room, in seconds from now; None for at once. Counts no refusal."""
        if self._draining or deadline.remaining_s <= 0:
            return None
        refusal = self._lanes.refusal(priority, predictor, images, deadline.remaining_s)
        return None if refusal is None else max(refusal.clear_in_s, _SHORTEST_RETRY_S)

    async def infer(
        self,
        predictor: Predictor,
        images: NDArray[np.uint8],
        deadline: Deadline,
        priority: Priority = Priority.INTERACTIVE,
    ) -> Answer:
        """Accepts and runs images that are decoded already.

        Args:
            predictor: The model.
            images: uint8 `[B, 299, 299, 3]`, at least one; more than fit into a batch are split and joined.
            deadline: When the caller stops waiting.
            priority: Which work goes first.

        Raises:
            NotReady, Overloaded, DeadlineExceeded: See `admit`.
            InferenceFailed: The network failed on these images.
        """
        with self.admit(predictor, len(images), deadline, priority) as ticket:
            return await ticket.infer(images)

    async def drain(self, grace_s: float) -> bool:
        """Refuses new work, waits for what was accepted, and ends the lanes.

        Args:
            grace_s: Longest time to wait, in seconds.

        Returns:
            Whether everything that was accepted has been answered.
        """
        self._draining = True
        end = Deadline.after(grace_s)
        try:
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        except TimeoutError:
            _logger.error("%d requests were not answered within %g s of shutting down", self._accepted, grace_s)
        self._lanes.stop()
        # A lane may still run what nobody waits for any more; it delivers to the event loop, which must not be closed.
        await asyncio.to_thread(self._lanes.join, max(end.remaining_s, 0.0))
        if self._reports is not None:
            self._reports.cancel()
        self._observe_load()
        return not self._accepted

    def put(self, job: Job) -> None:
        """Puts a job into the queue; for tickets, which have a place for it.

        Raises:
            NotReady: A lane has died.
        """
        self._lanes.put(job)
        if not self._waking:
            # At the end of this pass of the event loop: what came together goes into one batch.
            self._waking = True
            self._loop.call_soon(self._wake)

    def hand_over(self, job: Job) -> None:
        """Puts a job into the queue and wakes a lane, from any thread.

        Raises:
            NotReady: A lane has died.
        """
        self._lanes.put(job)
        self._lanes.wake()

    def release(self, expired: bool) -> None:
        """Ends a request that was accepted; for tickets.

        Args:
            expired: Whether its deadline passed before its answer.
        """
        if expired:
            self.count_expired()
        self._accepted -= 1
        if not self._accepted:
            self._idle.set()

    def count_expired(self) -> None:
        """Counts accepted work whose deadline passed; requests count themselves, an item of several does not."""
        self.observer.count_refusal("expired")

    def _ask(
        self,
        lanes: Callable[[Priority, Predictor, int, float], Refusal | None],
        predictor: Predictor,
        images: int,
        deadline: Deadline,
        priority: Priority,
    ) -> None:
        if self._draining or self._lanes.dead:
            raise self._counted(
                "draining", NotReady("The service is shutting down or restarting. Try again in a few seconds.")
            )
        budget_s = deadline.remaining_s
        if budget_s <= 0:
            raise self._counted("expired", deadline.exceeded())
        refusal = lanes(priority, predictor, images, budget_s)
        if refusal is not None:
            raise self._counted(refusal.reason, self._overloaded(refusal, priority, budget_s))

    def _counted(self, reason: str, error: BrainMRIError) -> BrainMRIError:
        self.observer.count_refusal(reason)
        error.counted = True
        return error

    def _wake(self) -> None:
        self._waking = False
        self._lanes.wake()

    def _overloaded(self, refusal: Refusal, priority: Priority, budget_s: float) -> Overloaded:
        retry_after_s = max(refusal.clear_in_s, _SHORTEST_RETRY_S)
        advice = f"Try again in {retry_after_s:.1f} s"
        if refusal.reason == "queue_full":
            limit = f"{self._batching.room(priority)} images"
            return Overloaded(f"The queue is full: {limit}. {advice}.", retry_after_s=retry_after_s, limit=limit)
        return Overloaded(
            f"The answer would come after more than the {budget_s:.1f} s that the request has left."
            f" {advice}, or allow more time.",
            retry_after_s=retry_after_s,
            limit=f"{budget_s:.1f} s",
        )

    def _deliver(self, answers: Answers, images: int) -> None:
        if images:
            self.observer.observe_batch(images)
        self._loop.call_soon_threadsafe(self._resolve, answers)

    @staticmethod
    def _resolve(answers: Answers) -> None:
        for job, answer in answers:
            if job.future.done():
                continue
            if isinstance(answer, Exception):
                job.future.set_exception(answer)
            else:
                job.future.set_result(answer)

    async def _report(self) -> None:
        while True:
            self._observe_load()
            await asyncio.sleep(_REPORT_S)

    def _observe_load(self) -> None:
        waiting, age_s, in_flight = self._lanes.load()
        self.observer.set_queue(waiting, age_s)
        self.observer.set_in_flight(in_flight)


class Ticket:
    """Places in the queue that one request holds; its context gives back what was not used. Made by `Batcher.admit`.

    Args:
        batcher: Whose queue it is.
        lanes: What runs the images.
        hold: The request whose places they are.
    """

    def __init__(self, batcher: Batcher, lanes: Lanes, hold: Hold) -> None:
        self._batcher = batcher
        self._lanes = lanes
        self._hold = hold
        self._lock = threading.Lock()
        self._unused = hold.images

    def __enter__(self) -> "Ticket":
        """Returns itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Gives back the places that were not used, and lets the batcher end."""
        self._lanes.give_back(self._hold.priority, self._hold.predictor, self._unused)
        gone = kind is not None and issubclass(kind, asyncio.CancelledError | DeadlineExceeded)
        self._batcher.release(gone and self._hold.deadline.remaining_s <= 0)

    async def decode_and_infer(self, decode: Callable[[], NDArray[np.uint8]], executor: Executor) -> Answer:
        """Decodes one of the images that were promised a place, and runs it; errors as in `infer`.

        The thread that has decoded hands the image to the lanes itself: the event loop has other things to do.

        Args:
            decode: Returns uint8 `[1, 299, 299, 3]`; what it raises is raised here.
            executor: Whose threads decode. A caller that goes before one is free takes its image along.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        job = None

        def work() -> None:
            nonlocal job
            images = decode()
            with self._lock:
                # Cancelled when its caller has gone.
                if not answer.done():
                    job = self._job(images, answer)
                    self._batcher.hand_over(job)

        def tell(decoded: Future[None]) -> None:
            if decoded.cancelled():  # the executor ended before a thread was free
                loop.call_soon_threadsafe(answer.cancel)
            elif (error := decoded.exception()) is not None:
                loop.call_soon_threadsafe(_fail, answer, error)

        decoding = executor.submit(work)
        decoding.add_done_callback(tell)
        try:
            return await answer
        except asyncio.CancelledError:
            decoding.cancel()
            with self._lock:
                if job is not None:
                    self._lanes.discard(job)
            raise

    async def infer(self, images: NDArray[np.uint8]) -> Answer:
        """Runs some of the images that were promised a place; call it once for each part of them.

        Args:
            images: uint8 `[B, 299, 299, 3]`, not more than are left of the promise.

        Raises:
            DeadlineExceeded: The deadline passed before they were run.
            InferenceFailed: The network failed on these images.
            NotReady: A lane has died.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        with self._lock:
            job = self._job(images, future)
        self._batcher.put(job)
        try:
            return await future
        except asyncio.CancelledError:
            self._lanes.discard(job)
            raise

    def _job(self, images: NDArray[np.uint8], answer: asyncio.Future[Answer]) -> Job:
        self._unused -= len(images)
        hold = self._hold
        return Job(hold.predictor, images, hold.deadline, hold.priority, answer, time.monotonic())


def _fail(answer: asyncio.Future[Answer], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)
