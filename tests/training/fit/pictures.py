"""Pictures of heads that are known to the pixel, and slices made of them."""

import numpy as np
from numpy.typing import NDArray

from training.data.boxes import Box
from training.data.slices import Slices, as_slices
from training.data.split import SplitRow

Grey = NDArray[np.float32]
SIDE = 299
TUMOUR = Box(0.25, 0.4, 0.37, 0.52)
"""Left of the midline, and its mirror image is inside the head as well."""


def head(level: float = 100.0) -> Grey:
    """A symmetric head with a little texture on black: an upright ellipse, `[299, 299]`."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    inside = ((x - SIDE / 2) / 110) ** 2 + ((y - SIDE / 2) / 125) ** 2 < 1
    texture = 8 * np.sin(y / 9) + 8 * np.cos((x - SIDE / 2) / 7)
    return np.where(inside, level + texture, 0).astype(np.float32)


def with_tumour(image: Grey, box: Box = TUMOUR, level: float = 240.0) -> Grey:
    """The picture with a bright ellipse that fills the box."""
    y, x = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE
    across = (x - (box.left + box.right) / 2) / (box.right - box.left) * 2
    down = (y - (box.top + box.bottom) / 2) / (box.bottom - box.top) * 2
    return np.where(across**2 + down**2 < 1, level, image).astype(np.float32)


def pixels_of(box: Box) -> tuple[slice, slice]:
    """Rows and columns of the pixels in a box."""
    return (
        slice(round(box.top * SIDE), round(box.bottom * SIDE)),
        slice(round(box.left * SIDE), round(box.right * SIDE)),
    )


def bright_box(image: Grey, above: float = 190.0) -> Box:
    """The box around the pixels above a level."""
    rows, columns = np.flatnonzero((image > above).any(axis=1)), np.flatnonzero((image > above).any(axis=0))
    return Box(columns[0] / SIDE, rows[0] / SIDE, (columns[-1] + 1) / SIDE, (rows[-1] + 1) / SIDE)


def row(name: str, label: str, unit: str, *, source: str = "figshare", subset: str = "train") -> SplitRow:
    """A row of a split without a box."""
    return SplitRow(name, source, label, "", unit, subset, subset, "", False, 0, 0, 0, 0)


def slices_of(pictures: list[tuple[Grey, SplitRow, Box | None]]) -> Slices:
    """Slices of grey pictures."""
    pixels = np.stack([np.repeat(picture.astype(np.uint8)[..., None], 3, axis=2) for picture, _, _ in pictures])
    boxes = np.array([box.values() if box else (0, 0, 0, 0) for _, _, box in pictures], np.float32)
    return as_slices(pixels, [fact for _, fact, _ in pictures], boxes)
