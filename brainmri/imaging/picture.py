"""What a file holds, what its caller asks of it, and how its values became 8-bit pixels."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from brainmri.errors import MalformedRequest

MAX_FRAME = 999_999
"""Highest number of a frame that may be asked for."""

Rule = Literal["as_stored", "declared", "bit_length", "unit", "value_range", "window", "lookup_table"]
"""How values became 8-bit greys; `docs/images.md` describes each rule."""


@dataclass(frozen=True)
class ReadOptions:
    """What a caller may ask of one image.

    Attributes:
        frame: Which frame or page, from 0; None takes the middle frame of a DICOM object, the first page of others.
        force: Answer also for a DICOM object that says it is not an MRI of a head.

    Raises:
        MalformedRequest: A frame below 0 or above `MAX_FRAME`.
    """

    frame: int | None = None
    force: bool = False

    def __post_init__(self) -> None:
        """Rejects numbers that no frame has."""
        if self.frame is not None and not 0 <= self.frame <= MAX_FRAME:
            raise MalformedRequest(
                f"The parameter frame is {self.frame}. Send the number of a frame, counted from 0.",
                limit=f"0 to {MAX_FRAME}",
            )


DEFAULT_OPTIONS = ReadOptions()


@dataclass(frozen=True)
class Header:
    """What a file declares, known before anything is decoded.

    Attributes:
        width: In pixels.
        height: In pixels.
        channels: Samples of one pixel.
        sample_bytes: Bytes of one sample once decoded.
        frames: Frames or pages; None where counting them needs the whole file.
    """

    width: int
    height: int
    channels: int
    sample_bytes: int
    frames: int | None

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame once decoded."""
        return self.width * self.height * self.channels * self.sample_bytes


@dataclass(frozen=True)
class Scaling:
    """Which values became black and white.

    Attributes:
        rule: How they were found.
        low: The value that became 0, in the file's own units.
        high: The value that became 255; smaller than `low` where the file's black is its largest value.
    """

    rule: Rule
    low: float
    high: float


AS_STORED = Scaling("as_stored", 0, 255)


@dataclass(frozen=True)
class SourceImage:
    """What became of one file; part of every answer.

    Attributes:
        format: Such as `PNG` or `DICOM`.
        mode: Pillow's name of the stored pixels, such as `I;16`; for DICOM the photometric interpretation.
        bits: Significant bits of one sample.
        frames: Frames or pages in the file; None where they cannot be counted.
        frame: The one that was taken, from 0.
        scaling: How its values became 8-bit greys.
    """

    format: str
    mode: str
    bits: int
    frames: int | None
    frame: int
    scaling: Scaling


@dataclass(frozen=True)
class Picture:
    """A decoded image.

    Attributes:
        pixels: uint8 in [0, 255], `[H, W]` for a grey source and `[H, W, 3]` (RGB) otherwise.
        source: Where they come from.
    """

    pixels: NDArray[np.uint8]
    source: SourceImage
