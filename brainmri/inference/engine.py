"""The predictor behind an asynchronous interface: threads that decode, one lane that infers."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from brainmri.inference.deadline import Deadline, Priority
from brainmri.inference.models import Models
from brainmri.inference.predictor import Prediction, Predictor, stage_timings
from brainmri.inference.runtime import Output


class Engine:
    """Answers from an event loop without ever blocking it. Every interface calls it, and nothing else.

    Args:
        decode_workers: Threads that decode images, at least 1.
    """

    def __init__(self, decode_workers: int) -> None:
        self._decoders = ThreadPoolExecutor(decode_workers, thread_name_prefix="decode")
        self._lane = ThreadPoolExecutor(1, thread_name_prefix="infer")
        self.models = Models()

    @property
    def ready(self) -> bool:
        """Whether a model is loaded and warm, and the engine is not draining."""
        return self.models.ready

    @property
    def alive(self) -> bool:
        """Whether every thread that work depends on still runs; a restart helps when it is False."""
        return True

    async def start(self, load: Callable[[], Sequence[Predictor]]) -> None:
        """Loads and warms the models on the lane, then becomes ready.

        Args:
            load: Opens the models, the default first; its errors pass through.
        """

        def load_and_warm() -> Sequence[Predictor]:
            predictors = load()
            for predictor in predictors:
                predictor.warm_up()
            return predictors

        self.models.replace(await asyncio.get_running_loop().run_in_executor(self._lane, load_and_warm))

    async def predict(
        self,
        data: bytes,
        deadline: Deadline,
        *,
        predictor: Predictor | None = None,
        priority: Priority = Priority.INTERACTIVE,
    ) -> Prediction:
        """Answers for one encoded image.

        Args:
            data: The bytes of an image file.
            deadline: When the caller stops waiting.
            predictor: Which model; the default one if None.
            priority: Interactive work goes before bulk work.

        Raises:
            NotReady: No model is loaded, or the engine is draining.
            Overloaded: The queue is full, or the predicted wait exceeds the deadline.
            DeadlineExceeded: The deadline has passed.
            InvalidInput: The image is refused.
            InferenceFailed: The network failed on this image.
        """
        predictor = predictor or self.models.default
        loop = asyncio.get_running_loop()
        start = time.perf_counter()
        tensor = await loop.run_in_executor(self._decoders, predictor.read, data)
        decoded = time.perf_counter()
        self.models.default  # noqa: B018 -- again: after `close` the lane would raise RuntimeError
        return (await self._run(predictor, tensor[np.newaxis], start, decoded))[0]

    async def infer(
        self,
        images: NDArray[np.uint8],
        deadline: Deadline,
        *,
        predictor: Predictor | None = None,
        priority: Priority = Priority.INTERACTIVE,
    ) -> list[Prediction]:
        """Answers for model inputs, uint8 `[B, 299, 299, 3]`, in order; arguments and errors as in `predict`.

        Raises:
            MalformedRequest: Another shape or dtype, or more images than a request may hold.
        """
        start = time.perf_counter()
        return await self._run(predictor or self.models.default, images, start, start)

    async def _run(
        self, predictor: Predictor, images: NDArray[np.uint8], start: float, decoded: float
    ) -> list[Prediction]:
        def infer() -> tuple[float, Output, float]:
            return time.perf_counter(), predictor.infer(images), time.perf_counter()

        begun, output, done = await asyncio.get_running_loop().run_in_executor(self._lane, infer)
        timings = stage_timings(start, decoded, begun, done)
        return [predictor.answer(output, row, timings) for row in range(len(images))]

    def close(self) -> None:
        """Stops accepting work and waits for what was accepted."""
        self.models.replace(())
        # Cancelled work would cancel the requests that wait for it, which then get no answer at all.
        self._decoders.shutdown(wait=True)
        self._lane.shutdown(wait=True)
