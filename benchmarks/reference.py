"""What the same runtime does without a server: the best that serving can reach on this machine."""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from brainmri.model.bundle import load_bundle
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Prediction, Predictor, Slice
from brainmri.settings import Settings

SURE = 0.8
"""Confidence from which on the rounding of larger batches does not change a label."""

P = ParamSpec("P")
T = TypeVar("T")

_opened: "list[Reference]" = []
"""The one of this process."""


@dataclass(frozen=True)
class Pace:
    """How fast it went.

    Attributes:
        images_per_s: Images a second.
        cpu_ms_per_image: CPU time of the process, all threads, in milliseconds.
    """

    images_per_s: float
    cpu_ms_per_image: float


@dataclass(frozen=True)
class Latency:
    """One image after the other, medians in milliseconds."""

    decode_ms: float
    inference_ms: float
    total_ms: float


class Reference:
    """The predictor that the server opens, driven directly.

    Args:
        predictor: Loaded and warm.
        decoders: Threads that decode.
        batch: Images in one inference, at least 1.
        streams: Inferences at a time, as many as the predictor has streams.
    """

    def __init__(self, predictor: Predictor, decoders: Executor, batch: int, streams: int) -> None:
        self._predictor = predictor
        self._decoders = decoders
        self._batch = batch
        self._streams = streams

    def predict(self, images: Sequence[bytes]) -> list[Prediction]:
        """Answers for each file, one at a time."""
        return [self._predictor.predict(image) for image in images]

    def tensors(self, images: Sequence[bytes]) -> list[NDArray[np.uint8]]:
        """Returns each file as the network takes it, uint8 `[299, 299, 3]`."""
        return [self._predictor.read(image).tensor for image in images]

    def uploads(self, images: Sequence[bytes], seconds: float) -> Pace:
        """Decodes ahead in the pool while each stream runs the network on full batches."""

        def stream() -> Callable[[], None]:
            files = itertools.cycle(images)
            ahead: deque[Future[Slice]] = deque()

            def step() -> None:
                while len(ahead) < 4 * self._batch:
                    ahead.append(self._decoders.submit(self._predictor.read, next(files)))
                self._predictor.infer(np.stack([ahead.popleft().result().tensor for _ in range(self._batch)]))

            return step

        return self._pace(stream, seconds)

    def tensor_batches(self, images: Sequence[bytes], seconds: float) -> Pace:
        """Runs the network on full batches that were decoded before."""
        tensors = itertools.cycle(self.tensors(images[: self._batch]))
        batch = np.stack([next(tensors) for _ in range(self._batch)])
        return self._pace(lambda: lambda: self._predictor.infer(batch), seconds)

    def one_by_one(self, images: Sequence[bytes], seconds: float) -> Latency:
        """Decodes and infers one image after the other, as for a single client."""
        answers: list[Prediction] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            answers.append(self._predictor.predict(images[len(answers) % len(images)]))
        decode, inference, total = (
            median(answer.timings_ms[stage] for answer in answers) for stage in ("decode", "inference", "total")
        )
        return Latency(decode, inference, total)

    def _pace(self, stream: Callable[[], Callable[[], object]], seconds: float) -> Pace:
        steps = [stream() for _ in range(self._streams)]
        for step in steps:
            step()
        start, cpu = time.perf_counter(), time.process_time()

        def run(step: Callable[[], object]) -> int:
            count = 0
            while time.perf_counter() - start < seconds:
                step()
                count += 1
            return count

        with ThreadPoolExecutor(self._streams) as threads:
            images = sum(threads.map(run, steps)) * self._batch
        elapsed = time.perf_counter() - start
        return Pace(images / elapsed, (time.process_time() - cpu) * 1e3 / images)


def sure(images: Sequence[bytes], answers: Sequence[Prediction]) -> list[tuple[bytes, Prediction]]:
    """Returns the images whose answer is sure enough to be the same in a batch of any size, with their answers."""
    return [pair for pair in zip(images, answers, strict=True) if pair[1].confidence >= SURE]


class ReferenceProcess:
    """A `Reference` in a process of its own, with the settings that a server started here would have.

    Args:
        bundle: Folder of the bundle.
    """

    def __init__(self, bundle: Path) -> None:
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), _start, (bundle, Settings()))

    def run(self, work: Callable[Concatenate[Reference, P], T], *args: P.args, **named: P.kwargs) -> T:
        """Calls a method of the reference over there: `process.run(Reference.uploads, images, 3.0)`."""
        answer: T = self._pool.submit(_run, work, *args, **named).result()
        return answer

    def close(self) -> None:
        """Ends the process."""
        self._pool.shutdown()


@contextmanager
def reference_process(bundle: Path) -> Iterator[ReferenceProcess]:
    """A reference for the duration of a `with` block; `bundle` is the bundle's folder."""
    process = ReferenceProcess(bundle)
    try:
        yield process
    finally:
        process.close()


def _start(folder: Path, settings: Settings) -> None:
    predictor = Predictor.open(load_bundle(folder), ModelOptions.of(settings))
    predictor.warm_up()
    decoders = ThreadPoolExecutor(settings.decode_threads())
    _opened.append(Reference(predictor, decoders, settings.max_batch_size, settings.inference_streams()))


def _run(work: Callable[..., Any], *args: object, **named: object) -> Any:
    return work(_opened[0], *args, **named)
