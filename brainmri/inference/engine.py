"""The predictor behind an asynchronous interface: threads that decode, one lane that infers."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from brainmri.errors import NotReady
from brainmri.inference.predictor import Prediction, Predictor, stage_timings
from brainmri.inference.runtime import Output


class Engine:
    """Answers from an event loop without ever blocking it.

    One lane runs the network because one inference already uses every CPU thread it was given.

    Args:
        decode_workers: Threads that decode images, at least 1.
    """

    def __init__(self, decode_workers: int) -> None:
        self._decoders = ThreadPoolExecutor(decode_workers, thread_name_prefix="decode")
        self._lane = ThreadPoolExecutor(1, thread_name_prefix="infer")
        self._predictor: Predictor | None = None

    @property
    def ready(self) -> bool:
        """Whether a model is loaded and warm."""
        return self._predictor is not None

    @property
    def predictor(self) -> Predictor:
        """The loaded and warm model.

        Raises:
            NotReady: Still loading, or closed.
        """
        if self._predictor is None:
            raise NotReady("The model is not loaded. Try again in a few seconds, or ask /readyz first.")
        return self._predictor

    async def start(self, load: Callable[[], Predictor]) -> Predictor:
        """Loads and warms the model on the lane, then becomes ready.

        Args:
            load: Opens the model; its errors pass through.
        """

        def load_and_warm() -> Predictor:
            predictor = load()
            predictor.warm_up()
            return predictor

        self._predictor = await asyncio.get_running_loop().run_in_executor(self._lane, load_and_warm)
        return self._predictor

    async def predict(self, data: bytes) -> Prediction:
        """Answers for one encoded image.

        Raises:
            NotReady: No model is loaded, or the engine was closed while the image was decoded.
            InvalidInput: The image is refused.
        """
        predictor = self.predictor
        loop = asyncio.get_running_loop()
        start = time.perf_counter()
        tensor = await loop.run_in_executor(self._decoders, predictor.read, data)
        decoded = time.perf_counter()
        predictor = self.predictor  # Again: after `close` the lane would raise RuntimeError.

        def infer(images: NDArray[np.uint8]) -> tuple[float, Output, float]:
            return time.perf_counter(), predictor.infer(images), time.perf_counter()

        begun, output, done = await loop.run_in_executor(self._lane, infer, tensor[np.newaxis])
        return predictor.answer(output.logits[0], stage_timings(start, decoded, begun, done))

    def close(self) -> None:
        """Stops accepting work and waits for what was accepted."""
        self._predictor = None
        # Cancelled work would cancel the requests that wait for it, which then get no answer at all.
        self._decoders.shutdown(wait=True)
        self._lane.shutdown(wait=True)
