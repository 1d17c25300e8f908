"""Places in the queue that one request has reserved, and the way of its images through the decoding threads to them."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from brainmri.batching.call import Call
from brainmri.batching.queue import Answer, Job
from brainmri.batching.streams import Streams
from brainmri.errors import DeadlineExceeded
from brainmri.imaging.memory import LargeImage, ordinary_images_only

P = ParamSpec("P")
T = TypeVar("T")


class Decoders(Executor):
    """An executor for work that decodes one image.

    Each piece begins on a thread for ordinary images. When the image's header shows that it is large, before anything
    is decoded, the piece begins again on the one thread for large images. Large ones that wait hold no thread.

    Args:
        threads: For ordinary images, at least 1.
    """

    def __init__(self, threads: int) -> None:
        self._ordinary = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._large = ThreadPoolExecutor(1, thread_name_prefix="decode-large")

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Runs a piece of work, which may begin twice; one that is cancelled while it waits does not begin again."""
        outcome: Future[T] = Future()

        def attempt(ordinary_only: bool) -> None:
            if outcome.cancelled():
                return
            try:
                with ordinary_images_only(ordinary_only):
                    result = fn(*args, **kwargs)
            except LargeImage:
                _begin(self._large, attempt, False, outcome)
            except BaseException as error:  # noqa: BLE001 -- whoever waits for the outcome gets it
                if outcome.set_running_or_notify_cancel():
                    outcome.set_exception(error)
            else:
                if outcome.set_running_or_notify_cancel():
                    outcome.set_result(result)

        _begin(self._ordinary, attempt, True, outcome)
        return outcome

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the threads; as in `concurrent.futures.Executor`."""
        for executor in (self._ordinary, self._large):
            executor.shutdown(wait=wait, cancel_futures=cancel_futures)


def _begin(executor: ThreadPoolExecutor, attempt: Callable[[bool], None], flag: bool, outcome: Future[Any]) -> None:
    def end_with(inner: Future[None]) -> None:
        if inner.cancelled():
            outcome.cancel()

    try:
        executor.submit(attempt, flag).add_done_callback(end_with)
    except RuntimeError:  # the executor has ended
        outcome.cancel()


class Reservation:
    """Places in the queue; as a context manager it gives back those that were not used. Made by `Batcher.admit`.

    Args:
        call: Whose places they are.
        images: How many, at least 1.
        streams: What runs the images.
        wake_soon: Wakes a stream at the end of this pass of the event loop.
        ended: Is told at the end of the context whether the deadline had passed before the answer.
    """

    def __init__(
        self,
        call: Call,
        images: int,
        streams: Streams,
        wake_soon: Callable[[], None],
        ended: Callable[[bool], None],
    ) -> None:
        self._call = call
        self._unused = images
        self._streams = streams
        self._wake_soon = wake_soon
        self._ended = ended
        self._lock = threading.Lock()

    def __enter__(self) -> "Reservation":
        """Returns itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Gives back the places that were not used, and lets the batcher end."""
        self._streams.give_back(self._call, self._unused)
        gone = kind is not None and issubclass(kind, asyncio.CancelledError | DeadlineExceeded)
        self._ended(gone and self._call.deadline.remaining_s <= 0)

    async def decode_and_infer(self, decode: Callable[[], NDArray[np.uint8]], executor: Executor) -> Answer:
        """Decodes one of the images that have a place, and runs it; errors as in `infer`.

        The thread that has decoded hands the image to the streams itself: the event loop has other things to do.

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
                    self._streams.put(job)
                    self._streams.wake()

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
                    self._streams.discard(job)
            raise

    async def infer(self, images: NDArray[np.uint8]) -> Answer:
        """Runs some of the images that have a place; call it once for each part of them.

        Args:
            images: uint8 `[B, 299, 299, 3]`, not more than have a place left.

        Raises:
            DeadlineExceeded: The deadline passed before they were run.
            InferenceFailed: The network failed on these images.
            NotReady: A stream has died.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        with self._lock:
            job = self._job(images, future)
        self._streams.put(job)
        self._wake_soon()
        try:
            return await future
        except asyncio.CancelledError:
            self._streams.discard(job)
            raise

    def _job(self, images: NDArray[np.uint8], answer: asyncio.Future[Answer]) -> Job:
        self._unused -= len(images)
        return Job(self._call, images, answer, time.monotonic())


def _fail(answer: asyncio.Future[Answer], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)
