"""The adaptive batcher: one bounded queue for every interface, in front of the streams that run the network.

A stream that is idle takes what has come at once; while it is busy, what comes gathers into the next batch. Interactive
work goes before bulk work, which keeps every eighth batch (`queue.BULK_TURN`); within a priority the model whose
request came first is next, so none starves.

Work is accepted before it is decoded. It is refused at once when there is no place for it or when it could not be done
in time; and it is not run when its caller has gone or its deadline has passed meanwhile.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from brainmri.batching.admission import UnderWay
from brainmri.batching.call import Call, Deadline, Priority
from brainmri.batching.queue import Answer
from brainmri.batching.reservation import Reservation
from brainmri.batching.schedule import Batching, Refusal
from brainmri.batching.streams import Answers, Streams
from brainmri.blocking import Threads
from brainmri.errors import BrainMRIError, NotReady, Overloaded

_REPORT_S = 0.5
_SHORTEST_RETRY_S = 0.1

_logger = logging.getLogger(__name__)


class Observer(Protocol):
    """Counts what the batcher does. Called from the event loop and from the streams; must not block."""

    def observe_batch(self, images: int) -> None:
        """One batch of so many images was run."""

    def count_refusal(self, reason: str) -> None:
        """One request was not run: `queue_full`, `deadline`, `draining`, or `expired` when its deadline had passed."""

    def set_queue(self, images: int, oldest_age_s: float) -> None:
        """So many images wait for a stream, the oldest for so many seconds; told twice a second."""

    def set_in_flight(self, images: int) -> None:
        """So many images are being decoded, wait, or are in a stream; told twice a second."""


class Unobserved:
    """An observer that counts nothing."""

    def observe_batch(self, images: int) -> None:
        """Does nothing."""

    def count_refusal(self, reason: str) -> None:
        """Does nothing."""

    def set_queue(self, images: int, oldest_age_s: float) -> None:
        """Does nothing."""

    def set_in_flight(self, images: int) -> None:
        """Does nothing."""


class Batcher:
    """Gathers requests into batches; belongs to one event loop.

    Args:
        batching: How to batch.
        observer: Counts what the batcher does; None counts nothing. May be replaced.
    """

    def __init__(self, batching: Batching, observer: Observer | None = None) -> None:
        self._batching = batching
        self.observer = observer or Unobserved()
        self._streams = Streams(batching, self._deliver)
        self._reserved = UnderWay()
        self._draining = False
        self._reports: asyncio.Task[None] | None = None
        self._waking = False

    def start(self) -> None:
        """Starts the streams, for the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._reports = asyncio.create_task(self._report())
        self._streams.start()

    @property
    def alive(self) -> bool:
        """Whether no stream has died and none is stuck; a restart of the process helps when it is False."""
        return self._streams.alive

    def admit(self, call: Call, images: int) -> Reservation:
        """Reserves places in the queue for images that are about to be decoded.

        Args:
            call: Which model, by when, how urgent.
            images: How many, at least 1.

        Returns:
            The places; give them back by using it as a context manager.

        Raises:
            NotReady: Draining, or a stream has died.
            Overloaded: The queue is full, or the work would not be done before the deadline.
            DeadlineExceeded: The deadline has passed.
        """
        if call.admitted is not None:
            call.admitted.arrive()
        self._ask(self._streams.reserve, call, images)
        self._reserved.enter()
        return Reservation(call, images, self._streams, self._wake_soon, self._release)

    def require_room(self, call: Call, images: int) -> None:
        """Raises what `admit` would raise now; reserves nothing."""
        self._ask(self._streams.refusal, call, images)

    def room_in_s(self, call: Call, images: int) -> float | None:
        """Returns when to ask `admit` for room, in seconds from now; None for at once. Counts no refusal."""
        if self._draining or call.deadline.remaining_s <= 0:
            return None
        refusal = self._streams.refusal(call, images)
        return None if refusal is None else max(refusal.clear_in_s, _SHORTEST_RETRY_S)

    async def infer(self, call: Call, images: NDArray[np.uint8]) -> Answer:
        """Accepts and runs images that are decoded already.

        Args:
            call: Which model, by when, how urgent.
            images: uint8 `[B, 299, 299, 3]`, at least one; more than fit into a batch are split and joined.

        Raises:
            NotReady, Overloaded, DeadlineExceeded: See `admit`.
            InferenceFailed: The network failed on these images.
        """
        with self.admit(call, len(images)) as reservation:
            return await reservation.infer(images)

    async def drain(self, grace_s: float) -> bool:
        """Refuses new work, waits for what was accepted, and ends the streams.

        Args:
            grace_s: Longest time to wait, in seconds.

        Returns:
            Whether everything that was accepted has been answered.
        """
        self._draining = True
        end = Deadline.after(grace_s)
        try:
            async with asyncio.timeout(grace_s):
                await self._reserved.wait_until_none()
        except TimeoutError:
            _logger.error("%d requests were not answered within %g s of shutting down", len(self._reserved), grace_s)
        self._streams.stop()
        # A stream may still run what nobody waits for; it delivers to the event loop, which has to stay open for it.
        ending = Threads("streams-end", 1)
        await ending.run(self._streams.join, max(end.remaining_s, 0.0))
        ending.close()
        if self._reports is not None:
            self._reports.cancel()
        self._observe_load()
        return not len(self._reserved)

    def count_expired(self) -> None:
        """Counts accepted work whose deadline passed; requests count themselves, an item of several does not."""
        self.observer.count_refusal("expired")

    def _wake_soon(self) -> None:
        if not self._waking:
            # At the end of this pass of the event loop: what came together goes into one batch.
            self._waking = True
            self._loop.call_soon(self._wake)

    def _release(self, expired: bool) -> None:
        if expired:
            self.count_expired()
        self._reserved.leave()

    def _ask(self, refusal_of: Callable[[Call, int], Refusal | None], call: Call, images: int) -> None:
        if self._draining or self._streams.dead:
            raise self._counted(
                "draining", NotReady("The service is shutting down or restarting. Try again in a few seconds.")
            )
        budget_s = call.deadline.remaining_s
        if budget_s <= 0:
            raise self._counted("expired", call.deadline.exceeded())
        refusal = refusal_of(call, images)
        if refusal is not None:
            raise self._counted(refusal.reason, self._overloaded(refusal, call.priority, budget_s))

    def _counted(self, reason: str, error: BrainMRIError) -> BrainMRIError:
        self.observer.count_refusal(reason)
        error.counted = True
        return error

    def _wake(self) -> None:
        self._waking = False
        self._streams.wake()

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
        waiting, age_s, in_flight = self._streams.load()
        self.observer.set_queue(waiting, age_s)
        self.observer.set_in_flight(in_flight)
