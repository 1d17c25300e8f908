"""A network that answers every image with the number that the image carries, and that a test can hold back."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmri.batching.call import Call, Deadline
from brainmri.batching.engine import Engine
from brainmri.imaging import DecodeLimits
from brainmri.model.contract import Contract
from brainmri.model.predictor import Predictor
from brainmri.model.runtimes.protocol import Output, RuntimeInfo
from tests.tiny import contract_parts

WAIT_S = 20
SOON = Deadline.after(3600)


def numbered(*numbers: int) -> NDArray[np.uint8]:
    """Returns one image of four bytes for each number; the batcher does not look at the shape of an image."""
    return np.array(numbers, "<u4").view(np.uint8).reshape(len(numbers), 4)


def numbers_of(output: Output) -> list[int]:
    """Returns the numbers of the images that an output answers."""
    return [int(number) for number in output.logits[:, 0]]


class StandIn:
    """A runtime.

    Args:
        held: Whether each batch waits for `let`.
        poison: Numbers of the images on which it raises.
        batch_sizes: The sizes that it has "compiled".
    """

    def __init__(self, held: bool = False, poison: Sequence[int] = (), batch_sizes: tuple[int, ...] = ()) -> None:
        self.info = RuntimeInfo("openvino-f64", "f64", 1, batch_sizes)
        self.batches: list[list[int]] = []
        self.fault: BaseException = ValueError("poisoned")
        self._poison = set(poison)
        self._held = held
        self._go = threading.Semaphore(0)

    def infer(self, images: NDArray[np.uint8]) -> Output:
        numbers = np.ascontiguousarray(images).view("<u4")[:, 0].tolist()
        self.batches.append(numbers)
        if self._held:
            assert self._go.acquire(timeout=WAIT_S)
        if self._poison.intersection(numbers):
            raise self.fault
        # float64 holds every number of four bytes.
        return self.output(np.repeat(np.array(numbers, np.float64)[:, None], 4, axis=1))

    def output(self, logits: NDArray[np.float64]) -> Output:
        return Output(logits, logits)  # type: ignore[arg-type]

    def let(self, batches: int = 1) -> None:
        """Lets so many batches through."""
        self._go.release(batches)


def predictor_of(runtime: StandIn) -> Predictor:
    """Returns a predictor around the runtime."""
    return Predictor(Contract.from_parts(**contract_parts()), runtime, DecodeLimits())


def asked(engine: Engine, deadline: Deadline = SOON, **more: Any) -> Call:
    """Returns a call to the default model of an engine."""
    return Call(engine.models.default, deadline, **more)


async def until(condition: Callable[[], bool]) -> None:
    """Waits, for at most `WAIT_S`, until something holds."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.001)
