"""A model that answers from the mean colour, and that a picture of a certain colour kills, fails or holds up."""

import io
import os
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainmri.bulk.archives.archive import ArchiveLimits
from brainmri.bulk.child import Work
from brainmri.bulk.items import Item, item_id
from brainmri.bulk.sources import Retry
from brainmri.imaging import DecodeLimits
from brainmri.model.contract import Contract
from brainmri.model.predictor import Predictor
from brainmri.model.runtimes.protocol import Output, RuntimeInfo

Colour = tuple[int, int, int]

RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)
KILLS, FAILS, HANGS, IS_NO_NUMBER = (255, 0, 255), (255, 255, 0), (0, 255, 255), (255, 255, 255)


class MeanColour:
    """A runtime; RED, GREEN, BLACK and BLUE are one label each."""

    info = RuntimeInfo("openvino-f32", "f32", 1)

    def infer(self, images: NDArray[np.uint8]) -> Output:
        mean = images.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)
        if _holds(mean, KILLS):
            os.kill(os.getpid(), signal.SIGSEGV)
        if _holds(mean, FAILS):
            raise ValueError("poisoned")
        if _holds(mean, HANGS):
            time.sleep(600)
        # Red, green, blue and black win in the order of the labels.
        red, green, blue = mean.T * 10 / 255
        logits = np.stack([red, green, np.ones_like(red), blue], axis=1)
        logits[(mean == 255).all(axis=1)] = np.nan
        return Output(logits, mean)


@dataclass(frozen=True)
class OpenStandIn:
    """Opens the model.

    Attributes:
        contract: As JSON.
    """

    contract: str

    def __call__(self) -> Predictor:
        return Predictor(Contract.from_json(self.contract), MeanColour(), DecodeLimits())


def work(batch_size: int = 4) -> Work:
    """Returns how a child works with this model."""
    # Imports OpenVINO, which a child need not.
    from tests.tiny import contract_parts  # noqa: PLC0415

    opener = OpenStandIn(Contract.from_parts(**contract_parts()).to_json())
    return Work(opener, batch_size, 2, ArchiveLimits(), Retry(first_wait_s=0.01))


def picture(colour: Colour) -> bytes:
    """Returns a small PNG of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(file, "PNG")
    return file.getvalue()


def write_pictures(folder: Path, colours: Sequence[Colour]) -> list[Item]:
    """Writes `0000.png`, `0001.png` and so on, and returns them as items."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04d}.png" for number in range(len(colours))]
    for path, colour in zip(paths, colours, strict=True):
        path.write_bytes(picture(colour))
    return items(paths)


def items(paths: Iterable[Path]) -> list[Item]:
    return [Item(item_id(str(path)), str(path), str(path)) for path in paths]


def _holds(mean: NDArray[np.float32], colour: Colour) -> bool:
    return bool((mean == np.array(colour, np.float32)).all(axis=1).any())
