"""Gives both labels to the look of every source: tumours taken out of slices that have one, and put into others.

Taking out mirrors the healthy half of the head over the tumour; putting in blends a tumour of one slice into another.
Either leaves a seam, so the same is done with healthy tissue too, which changes no label.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from training.data.boxes import Box
from training.fit.head import head_box, tissue

Grey = NDArray[np.float32]

_GROWN = 0.25
"""Growth of a box before tissue is exchanged, in shares of its sides: tumours have an edge."""
_SYMMETRIC = 0.55
"""Least correlation of the head with its mirror image; side views are below."""


class Transplants(BaseModel):
    """How often tissue is exchanged, as probabilities for each image. Zero switches it off.

    Attributes:
        erase: Of a slice with a tumour aside of the midline: it becomes `notumor`.
        paste: Of a slice without tumour: it gets one, with its label.
        sham: Of any slice: healthy tissue is exchanged, the label stays.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    erase: float = Field(default=0.0, ge=0, le=1)
    paste: float = Field(default=0.0, ge=0, le=1)
    sham: float = Field(default=0.0, ge=0, le=1)


@dataclass(frozen=True)
class Donor:
    """A slice `[H, W]` with a tumour in `box`, and the tumour's label index."""

    image: Grey
    box: Box
    label: int


def erased(image: Grey, box: Box) -> Grey | None:
    """Returns `image` with the mirrored other side of the head in place of the tumour in `box`.

    None where there is no such side: the tumour reaches the midline, or the view is from the side.
    """
    grown = _grown(box)
    middle = _midline(image)
    if grown.left < middle < grown.right or not _is_symmetric(image, middle):
        return None
    return _blend(image, _mirrored(image, middle), grown)


def sham_erased(image: Grey, box: Box | None, rng: np.random.Generator) -> Grey | None:
    """Returns `image` with a healthy place replaced by its mirrored other side; None where none is found."""
    head = head_box(image)
    middle = _midline(image)
    if not _is_symmetric(image, middle):
        return None
    place = _random_place(head, rng.uniform(0.1, 0.3), rng.uniform(0.1, 0.3), rng)
    opposite = Box(2 * middle - place.right, place.top, 2 * middle - place.left, place.bottom)
    near_tumour = box is not None and (_overlap(place, _grown(box)) or _overlap(opposite, _grown(box)))
    if place.left < middle < place.right or near_tumour:
        return None
    return _blend(image, _mirrored(image, middle), place)


def pasted(image: Grey, donor: Donor, rng: np.random.Generator) -> tuple[Grey, Box] | None:
    """Returns `image` with the donor's tumour about where it lies in the donor's head, and the box it got.

    None where that place holds no tissue.
    """
    return _paste(image, donor.image, donor.box, rng)


def sham_pasted(image: Grey, donor: Donor, rng: np.random.Generator) -> Grey | None:
    """Returns `image` with healthy tissue of the donor; None where none is found."""
    head = head_box(donor.image)
    width, height = donor.box.right - donor.box.left, donor.box.bottom - donor.box.top
    place = _random_place(head, width, height, rng)
    if _overlap(_grown(place), _grown(donor.box)):
        return None
    result = _paste(image, donor.image, place, rng)
    return None if result is None else result[0]


def _paste(image: Grey, source: Grey, box: Box, rng: np.random.Generator) -> tuple[Grey, Box] | None:
    theirs, ours = head_box(source), head_box(image)
    scale_x = (ours.right - ours.left) / (theirs.right - theirs.left) * rng.uniform(0.8, 1.2)
    scale_y = (ours.bottom - ours.top) / (theirs.bottom - theirs.top) * rng.uniform(0.8, 1.2)
    if not (0.4 < scale_x < 2.5 and 0.4 < scale_y < 2.5):
        return None
    mirror = rng.random() < 0.5
    at_x = ((box.left + box.right) / 2 - theirs.left) / (theirs.right - theirs.left)
    at_y = ((box.top + box.bottom) / 2 - theirs.top) / (theirs.bottom - theirs.top)
    at_x = 1 - at_x if mirror else at_x
    x = ours.left + np.clip(at_x + rng.normal(0, 0.08), 0.12, 0.88) * (ours.right - ours.left)
    y = ours.top + np.clip(at_y + rng.normal(0, 0.08), 0.12, 0.88) * (ours.bottom - ours.top)
    half_x, half_y = (box.right - box.left) / 2 * scale_x, (box.bottom - box.top) / 2 * scale_y
    place = Box(x - half_x, y - half_y, x + half_x, y + half_y)
    grown = _grown(place)
    if grown.clipped().area < 0.95 * grown.area or _share_of_tissue(image, place) < 0.8:
        return None
    patch = _resampled(source, _grown(box), image, grown, mirror)
    return _blend(image, _matched(patch, image, grown), grown), place.clipped()


def _resampled(source: Grey, box: Box, image: Grey, place: Box, mirror: bool) -> Grey:
    """Returns a copy of `image` whose pixels in `place` come from `box` of `source`, by nearest neighbours."""
    result = image.copy()
    rows, columns = _window(image, place)
    source_rows = _nearest(box.top, box.bottom, source.shape[0], rows.stop - rows.start)
    source_columns = _nearest(box.left, box.right, source.shape[1], columns.stop - columns.start)
    result[rows, columns] = source[np.ix_(source_rows, source_columns[::-1] if mirror else source_columns)]
    return result


def _nearest(low: float, high: float, side: int, count: int) -> NDArray[np.intp]:
    """Returns `count` pixel numbers spread over the shares `low` to `high` of a side."""
    return np.clip(np.rint(np.linspace(low * side, high * side - 1, count)), 0, side - 1).astype(np.intp)


def _matched(patch: Grey, image: Grey, place: Box) -> Grey:
    """Returns `patch` with mean and spread of its rim in `place` brought to those of `image` there."""
    rows, columns = _window(image, place)
    rim = _weights(rows.stop - rows.start, columns.stop - columns.start) < 0.5
    theirs, ours = patch[rows, columns][rim], image[rows, columns][rim]
    gain = np.clip(float(ours.std()) / max(float(theirs.std()), 1.0), 0.5, 2.0)
    result = patch.copy()
    result[rows, columns] = np.clip((patch[rows, columns] - theirs.mean()) * gain + ours.mean(), 0, 255)
    return result


def _blend(image: Grey, replacement: Grey, place: Box) -> Grey:
    rows, columns = _window(image, place)
    weights = _weights(rows.stop - rows.start, columns.stop - columns.start)
    result = image.copy()
    result[rows, columns] = image[rows, columns] * (1 - weights) + replacement[rows, columns] * weights
    return result


def _weights(height: int, width: int) -> Grey:
    """Returns an ellipse of ones with a soft edge, `[height, width]`."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    return np.clip((1 - np.sqrt(x * x + y * y)) / 0.25, 0, 1).astype(np.float32)


def _window(image: Grey, box: Box) -> tuple[slice, slice]:
    height, width = image.shape
    inside = box.clipped()
    top, left = round(inside.top * height), round(inside.left * width)
    return (
        slice(top, max(top + 2, round(inside.bottom * height))),
        slice(left, max(left + 2, round(inside.right * width))),
    )


def _grown(box: Box) -> Box:
    x, y = (box.right - box.left) * _GROWN, (box.bottom - box.top) * _GROWN
    return Box(box.left - x, box.top - y, box.right + x, box.bottom + y)


def _overlap(a: Box, b: Box) -> bool:
    return a.left < b.right and b.left < a.right and a.top < b.bottom and b.top < a.bottom


def _random_place(head: Box, width: float, height: float, rng: np.random.Generator) -> Box:
    x = head.left + rng.uniform(0.2, 0.8) * (head.right - head.left)
    y = head.top + rng.uniform(0.2, 0.8) * (head.bottom - head.top)
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _share_of_tissue(image: Grey, place: Box) -> float:
    rows, columns = _window(image, place)
    return float(tissue(image)[rows, columns].mean())


def _midline(image: Grey) -> float:
    head = head_box(image)
    return (head.left + head.right) / 2


def _mirrored(image: Grey, middle: float) -> Grey:
    width = image.shape[1]
    columns = np.clip(np.rint(2 * middle * width - np.arange(width) - 1), 0, width - 1).astype(int)
    return np.ascontiguousarray(image[:, columns])


def _is_symmetric(image: Grey, middle: float) -> bool:
    small, mirrored = image[::6, ::6], _mirrored(image, middle)[::6, ::6]
    spread = float(small.std() * mirrored.std())
    if spread == 0:
        return False
    return float(((small - small.mean()) * (mirrored - mirrored.mean())).mean()) / spread > _SYMMETRIC
