"""The threads that run the network, and the lock between them and the event loop.

A stream takes its next batch by itself, so it never waits for the event loop between two batches.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from brainmri.batching.call import Call
from brainmri.batching.queue import Answer, Batch, Job
from brainmri.batching.schedule import Batching, Refusal, Schedule
from brainmri.errors import InferenceFailed, NotReady
from brainmri.model.predictor import Predictor
from brainmri.model.runtimes.protocol import Output

_logger = logging.getLogger(__name__)

STUCK_S = 120
"""A batch that takes longer than this is taken for one that never ends."""

Answers = list[tuple[Job, Answer | Exception]]


class Part(Protocol):
    """Images that are answered, or fail, together."""

    @property
    def images(self) -> NDArray[np.uint8]:
        """uint8 `[n, 299, 299, 3]`."""
        ...


def run_batch(predictor: Predictor, parts: Sequence[Part]) -> list[Output | InferenceFailed]:
    """Returns the output of each part, in order; the error for a part that fails also when it is run alone.

    A batch that fails is halved until the failing parts are found: for one of them among n, about 2 log2 n runs.
    """
    try:
        output = _run_padded(predictor, [part.images for part in parts])
    except Exception as error:  # a runtime may raise anything, and none of it may reach other requests
        if len(parts) > 1:
            middle = len(parts) // 2
            return run_batch(predictor, parts[:middle]) + run_batch(predictor, parts[middle:])
        _logger.error("%s failed on the images of one request", predictor.contract.tag, exc_info=error)
        return [InferenceFailed("The network failed on the images of this request. Other requests are not affected.")]
    outputs: list[Output | InferenceFailed] = []
    row = 0
    for part in parts:
        count = len(part.images)
        outputs.append(output.rows(row, row + count))
        row += count
    return outputs


def _run_padded(predictor: Predictor, images: Sequence[NDArray[np.uint8]]) -> Output:
    rows = images[0] if len(images) == 1 else np.concatenate(images)
    count = len(rows)
    sizes = predictor.runtime_info.batch_sizes
    size = next((size for size in sizes if size >= count), count)
    if size > count:
        rows = np.concatenate([rows, np.zeros((size - count, *rows.shape[1:]), np.uint8)])
    output = predictor.infer(rows)
    if len(output.logits) != size or len(output.features) != size:
        raise ValueError(
            f"The network answered {size} images with {len(output.logits)} rows of logits and"
            f" {len(output.features)} of features."
        )
    return output.rows(0, count)


class Streams:
    """The streams and what waits for them; safe to call from any thread.

    Args:
        batching: How to batch.
        deliver: Gets the answers of a batch and the number of images that were run, in a stream's thread.
    """

    def __init__(self, batching: Batching, deliver: Callable[[Answers, int], None]) -> None:
        self._deliver = deliver
        self._schedule = Schedule(batching)
        self._changed = threading.Condition()  # guards the schedule
        # Daemons: one that hangs in the network must not keep the process alive.
        self._threads = [
            threading.Thread(target=self._work, name=f"infer-{number}", daemon=True)
            for number in range(batching.streams)
        ]
        self._stopped = False
        self.dead = False

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the threads after the batches that they are running; what waits is not run."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def join(self, seconds: float) -> None:
        """Waits for the threads to end after `stop`, but no longer than so many seconds for all of them."""
        end = time.monotonic() + seconds
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(end - time.monotonic(), 0.0))

    @property
    def alive(self) -> bool:
        """Whether no stream has died and none is stuck in a batch."""
        with self._changed:
            begun = [run.begun for run in self._schedule.running.values()]
        return not self.dead and all(time.perf_counter() - since < STUCK_S for since in begun)

    def reserve(self, call: Call, images: int) -> Refusal | None:
        """Reserves places in the queue; see `Schedule.reserve`."""
        with self._changed:
            return self._schedule.reserve(call, images)

    def refusal(self, call: Call, images: int) -> Refusal | None:
        """Tells what `reserve` would answer; see `Schedule.refusal`."""
        with self._changed:
            return self._schedule.refusal(call, images)

    def give_back(self, call: Call, images: int) -> None:
        """Frees reserved places that were not used."""
        with self._changed:
            self._schedule.queue.reserve(call, -images)
            if images:
                # A stream may be waiting for them.
                self._changed.notify()

    def put(self, job: Job) -> None:
        """Puts a job onto the places that were promised to it; a stream that is idle sees it after `wake`.

        Raises:
            NotReady: A stream has died.
        """
        with self._changed:
            self._schedule.queue.add(job)
            if self.dead:
                self._schedule.queue.discard(job)
                raise _died()

    def wake(self) -> None:
        """Lets an idle stream take what waits."""
        with self._changed:
            self._changed.notify()

    def discard(self, job: Job) -> None:
        """Forgets a job whose caller has gone; what has not been run of it never will be."""
        with self._changed:
            self._schedule.queue.discard(job)

    def load(self) -> tuple[int, float, int]:
        """Returns the images that wait, the seconds that the oldest has waited, and all images in flight."""
        with self._changed:
            queue = self._schedule.queue
            age_s = 0.0 if queue.oldest is None else time.monotonic() - queue.oldest
            return queue.waiting, age_s, self._schedule.in_flight

    def _work(self) -> None:
        name = threading.current_thread().name
        try:
            while (batch := self._next(name)) is not None:
                self._run(name, batch)
                # Or else an idle stream would keep a model alive that is no longer served.
                del batch
        except BaseException:  # a runtime may even raise SystemExit; whatever it is, it must show in /livez
            _logger.critical("The stream %s has died; this process should be restarted", name, exc_info=True)
            with self._changed:
                self.dead = True
                jobs = self._schedule.clear(name)
            self._deliver([(job, _died()) for job in jobs], 0)

    def _next(self, name: str) -> Batch | None:
        with self._changed:
            while not self._stopped:
                wait_s = self._schedule.queue_delay_s()
                batch = self._schedule.begin(name) if wait_s == 0 else None
                if batch is not None:
                    # One request may fill several streams.
                    self._changed.notify()
                    return batch
                self._changed.wait(wait_s)
        return None

    def _run(self, name: str, batch: Batch) -> None:
        answers: Answers = [(job, job.call.deadline.exceeded()) for job in batch.late]
        begun = time.perf_counter()
        outputs = run_batch(batch.predictor, batch.parts) if batch.parts else []
        done = time.perf_counter()
        with self._changed:
            self._schedule.end(name, done - begun)
            for part, output in zip(batch.parts, outputs, strict=True):
                answer = None if part.job.closed else self._answer(part.job, part.start, output, begun, done)
                if answer is not None:
                    answers.append((part.job, answer))
        self._deliver(answers, batch.images)

    def _answer(
        self, job: Job, start: int, output: Output | InferenceFailed, begun: float, done: float
    ) -> Answer | InferenceFailed | None:
        """Returns what to tell the caller; None while images of the job are missing."""
        if isinstance(output, InferenceFailed):
            self._schedule.queue.discard(job)
            return output
        job.begun = min(job.begun or begun, begun)
        complete = job.add(start, output)
        return None if complete is None else Answer(complete, job.begun, done)


def _died() -> NotReady:
    return NotReady("The service has to be restarted. Try again in a few seconds.")
