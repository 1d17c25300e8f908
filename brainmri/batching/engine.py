"""The predictors behind an asynchronous interface: threads that decode, a batcher whose streams infer."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmri.batching.batcher import Batcher, Observer
from brainmri.batching.call import Call, Deadline, Priority
from brainmri.batching.queue import Answer
from brainmri.batching.reservation import Decoders, Reservation
from brainmri.batching.schedule import Batching
from brainmri.blocking import Stop
from brainmri.errors import BrainMRIError, DeadlineExceeded, InferenceFailed, MalformedRequest, NotReady
from brainmri.imaging import Picture
from brainmri.model.predictor import Prediction, Predictor, Slice, sample_image, stage_timings
from brainmri.model.served import Models
from brainmri.model.warm_up import warm_up

_EVER = Deadline(math.inf, math.inf)


@dataclass(frozen=True)
class Siblings:
    """What is known of the sibling workers, the other processes of the same server; without any, all is well.

    Attributes:
        ready: Tells whether they are.
        alive: Tells whether they are.
    """

    ready: Callable[[], bool] = lambda: True
    alive: Callable[[], bool] = lambda: True


class Engine:
    """Answers from an event loop without ever blocking it. Every interface calls it, and nothing else.

    Args:
        decode_workers: Threads that decode images, at least 1.
        batching: How to batch and how much may wait.
        max_request_images: Most images in one request.
        observer: Counts batches, the queue and refusals; None counts nothing.
    """

    def __init__(
        self,
        decode_workers: int,
        batching: Batching = Batching(),  # noqa: B008 -- immutable
        max_request_images: int = 64,
        observer: Observer | None = None,
    ) -> None:
        self._threads = decode_workers
        self._decoders = Decoders(decode_workers)
        self._bulk_decoders = asyncio.Semaphore(decode_workers)
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._batching = batching
        self._observer = observer
        self._batcher = Batcher(batching)
        self._max_request_images = max_request_images
        self._warm = self._retiring = self._failed = False
        self.models = Models()
        self.siblings = Siblings()

    @property
    def ready(self) -> bool:
        """Whether a model is loaded and everything is warm, and the engine is neither retiring nor draining."""
        return self.models.ready and self._warm and not self._retiring

    @property
    def server_ready(self) -> bool:
        """Whether this process and its sibling workers are ready: any of them may get the next request."""
        return self.ready and self.siblings.ready()

    @property
    def server_alive(self) -> bool:
        """Whether this process and its sibling workers are alive."""
        return self.alive and self.siblings.alive()

    @property
    def alive(self) -> bool:
        """Whether no stream has died or is stuck, and nothing failed for good; a restart helps when it is False."""
        return self._batcher.alive and not self._failed

    async def start(
        self,
        load: Callable[[], Sequence[Predictor]],
        send_warm_up_requests: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Loads and warms the models in a thread, then becomes ready.

        Args:
            load: Opens the models, the default first; its errors pass through.
            send_warm_up_requests: Warms what lies in front of the engine, which answers nobody else yet: callers that
                filled the queue would make it fail. Its requests are not counted.

        Raises:
            InvalidBundle: A network fails on a black image.
        """
        self._batcher.start()
        await self.swap(load)
        await self._warm_decoders()
        if send_warm_up_requests is not None:
            await send_warm_up_requests()
        if self._observer is not None:
            self._batcher.observer = self._observer
        self._warm = True

    async def swap(self, load: Callable[[], Sequence[Predictor]]) -> None:
        """Loads and warms other models in a thread, then serves them instead; requests under way keep theirs.

        Args:
            load: Opens the models, the default first; its errors pass through, and nothing changes then.

        Raises:
            InvalidBundle: A network fails on a black image.
        """
        served = self.models.all()

        def load_and_warm() -> Sequence[Predictor]:
            predictors = load()
            for predictor in predictors:
                if predictor not in served:
                    warm_up(predictor, self._batching.max_batch_size)
            return predictors

        self.models.replace(await asyncio.get_running_loop().run_in_executor(self._loader, load_and_warm))

    def require_room(self, call: Call) -> None:
        """Raises what `predict` would raise now for want of a place, so that a body need not be read to be refused.

        Raises:
            NotReady: No model is loaded and warm, or the engine is draining.
            Overloaded: The queue is full, or the predicted wait exceeds the deadline.
            DeadlineExceeded: The deadline has passed.
        """
        self._require_answerable(call)
        self._batcher.require_room(call, 1)

    def room_in_s(self, call: Call) -> float | None:
        """Returns when `predict` would find a place, in seconds from now; None for at once, or to be told why not."""
        return self._batcher.room_in_s(call, 1)

    def require_room_for(self, requests: int) -> None:
        """Raises why so many requests of any kind could not be queued, even with all the time in the world.

        Raises:
            NotReady: No model is loaded and warm, or the engine is draining.
            Overloaded: The queue would have no room.
        """
        call = Call(self.models.default, _EVER)
        self._require_answerable(call)
        self._batcher.require_room(call, requests)

    async def predict(self, call: Call, data: bytes | Picture) -> Prediction:
        """Answers for one image.

        Args:
            call: Which model, by when, how urgent, with or without a heat map.
            data: The bytes of an image file, or its picture where it has been decoded.

        Raises:
            NotReady: No model is loaded and warm, or the engine is draining.
            Overloaded: The queue is full, or the predicted wait exceeds the deadline.
            DeadlineExceeded: The deadline has passed.
            InvalidInput: The image is refused.
            HeatMapUnavailable: A heat map is asked for, and the model carries none.
            InferenceFailed: The network failed on this image.
        """
        self._require_answerable(call)
        with self._batcher.admit(call, 1) as reservation:
            return await self._predict(call, data, reservation)

    async def predict_many(self, call: Call, data: Sequence[bytes]) -> list[Prediction | BrainMRIError]:
        """Answers for several encoded images, in order: each its own prediction, or its own error.

        The images are accepted or refused together; arguments as in `predict`.

        Raises:
            NotReady, Overloaded, DeadlineExceeded: As in `predict`, before any image was decoded.
            MalformedRequest: More images than a request may hold.
        """
        self._require_answerable(call)
        if not data:
            return []
        self._check_count(len(data))

        async def one(item: bytes, reservation: Reservation) -> Prediction | BrainMRIError:
            try:
                return await self._predict(call, item, reservation)
            except BrainMRIError as error:
                if isinstance(error, DeadlineExceeded):
                    self._batcher.count_expired()
                return error

        with self._batcher.admit(call, len(data)) as reservation:
            # All of them end before the places are given back, also when one fails with a fault of ours.
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(item, reservation)) for item in data]
            return [task.result() for task in tasks]

    async def infer(self, call: Call, images: NDArray[np.uint8]) -> list[Prediction]:
        """Answers for model inputs, uint8 `[B, 299, 299, 3]`, in order; arguments and errors as in `predict`.

        Raises:
            MalformedRequest: Another shape or dtype, or more images than a request may hold.
        """
        start = time.perf_counter()
        self._require_answerable(call)
        _check_images(call.predictor, images)
        self._check_count(len(images))
        async with _until(call.deadline):
            answer = await self._batcher.infer(call, images)
        return _predictions(call, answer, images, start, 0.0)

    def fail(self) -> None:
        """Says not alive from now on, because what surrounds the engine failed for good."""
        self._failed = True

    def retire(self) -> None:
        """Says not ready from now on, and goes on answering until `drain`."""
        self._retiring = True

    async def drain(self, grace_s: float) -> bool:
        """Refuses new work, answers what was accepted, and ends the threads.

        Args:
            grace_s: Longest time to wait, in seconds.

        Returns:
            Whether everything that was accepted has been answered.
        """
        self.retire()
        answered = await self._batcher.drain(grace_s)
        self.models.replace(())
        for executor in (self._decoders, self._loader):
            executor.shutdown(wait=False, cancel_futures=True)
        return answered

    async def _predict(self, call: Call, data: bytes | Picture, reservation: Reservation) -> Prediction:
        deadline = call.deadline
        start = time.perf_counter()
        decode_s = 0.0
        decoded: list[Slice] = []

        def decode() -> NDArray[np.uint8]:
            nonlocal decode_s
            begun = time.perf_counter()
            if deadline.remaining_s <= 0:
                raise deadline.exceeded()
            image = call.predictor.read(data, call.options, stop, call.preview_side)
            decoded.append(image)
            decode_s = time.perf_counter() - begun
            return image.tensor[np.newaxis]

        async with _until(deadline) as stop:
            if call.priority is Priority.BULK:
                # Or else interactive images would wait behind all of them for a thread.
                async with self._bulk_decoders:
                    images = await asyncio.get_running_loop().run_in_executor(self._decoders, decode)
                answer = await reservation.infer(images)
            else:
                answer = await reservation.decode_and_infer(decode, self._decoders)
        (image,) = decoded
        return _predictions(call, answer, image.tensor[np.newaxis], start, decode_s, image)[0]

    async def _warm_decoders(self) -> None:
        loop, image = asyncio.get_running_loop(), sample_image()
        reads = [loop.run_in_executor(self._decoders, self.models.default.read, image) for _ in range(self._threads)]
        await asyncio.gather(*reads)

    def _require_answerable(self, call: Call) -> None:
        if call.explain is not None:
            call.predictor.require_heat_maps(call.explain.label)
        if not self._warm and not call.warm_up:
            raise NotReady("The model is warming up. Try again in a few seconds, or ask /readyz first.")

    def _check_count(self, images: int) -> None:
        if images > self._max_request_images:
            limit = f"{self._max_request_images} images"
            raise MalformedRequest(
                f"The request holds {images} images; one may hold {limit}. Send several requests.", limit=limit
            )


@asynccontextmanager
async def _until(deadline: Deadline) -> AsyncIterator[Stop]:
    """Ends what takes too long; gives what tells its threads that nobody waits for them any more."""
    stop = Stop()
    try:
        async with asyncio.timeout(deadline.remaining_s):
            yield stop
    except TimeoutError as error:
        raise deadline.exceeded() from error
    finally:
        stop.set()


def _check_images(predictor: Predictor, images: NDArray[np.uint8]) -> None:
    spec = predictor.contract.input
    shape = (spec.height, spec.width, spec.channels)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != shape or not len(images):
        expected = f"uint8 [B, {', '.join(map(str, shape))}] with B of at least 1"
        raise MalformedRequest(
            f"The input must be {expected}; it is {images.dtype} {list(images.shape)}.", limit=expected
        )


def _predictions(
    call: Call,
    answer: Answer,
    images: NDArray[np.uint8],
    start: float,
    decode_s: float,
    image: Slice | None = None,
) -> list[Prediction]:
    """Returns the calibrated answers.

    Args:
        call: The request.
        answer: What the network said.
        images: What the network saw, uint8 `[B, 299, 299, 3]`.
        start: When the request came, by `time.perf_counter`, in seconds.
        decode_s: How long decoding took, in seconds; all other time before the network was waiting.
        image: The decoded file, for an answer of one image.
    """
    predictor, explain = call.predictor, call.explain
    timings = stage_timings(start, start + decode_s, answer.begun, answer.done)
    try:
        predictions = [predictor.answer(answer.output, row, timings, image) for row in range(len(images))]
        if explain is None:
            return predictions
        return [
            predictor.explain(prediction, answer.output, row, images[row], explain)
            for row, prediction in enumerate(predictions)
        ]
    except ValueError as error:
        raise InferenceFailed("The network's answer for this request is not a number.") from error
