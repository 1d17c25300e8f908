"""Greys of more than 8 bits to 8 bits: by what the file declares, else by one rule on the values.

The rule: integers that are all positive fill the smallest `2**b - 1`, `b` at least 8, that holds the largest of them
(`bit_length`); floats up to 1 fill 1 (`unit`), and others up to 65535 follow the integers; whatever has negative or
larger values fills the range between its smallest and its largest value (`value_range`). Every slice of the training
set has a pixel of at least 134 of 255 (2,458 measured), so that one stored with 9 to 16 bits gets its own bits back.
"""

import numpy as np
from numpy.typing import NDArray

from brainmri.imaging.picture import Scaling

_MOST_FLOAT = 65535


def declared_scaling(bits: int) -> Scaling:
    """Returns the scaling of a file that declares how many bits its values have."""
    return Scaling("declared", 0, 2**bits - 1)


def scaling_of(values: NDArray[np.generic]) -> Scaling:
    """Returns the scaling that follows from the values alone; they are finite."""
    low, high = float(values.min()), float(values.max())
    is_float = np.issubdtype(values.dtype, np.floating)
    if low < 0 or (is_float and high > _MOST_FLOAT):
        return Scaling("value_range", low, high)
    if is_float and high <= 1:
        return Scaling("unit", 0, 1)
    bits = max(8, int(np.ceil(high)).bit_length())
    return Scaling("bit_length", 0, 2**bits - 1)


def finite(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Returns float32 for floats, with 0 in place of what is not a finite number; integers as they are."""
    if not np.issubdtype(values.dtype, np.floating):
        return values
    with np.errstate(over="ignore"):
        return np.nan_to_num(values.astype(np.float32), copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def to_8_bits(values: NDArray[np.generic], scaling: Scaling) -> NDArray[np.uint8]:
    """Returns the nearest of 256 greys for each value; what lies outside of the scaling is black or white.

    Args:
        values: Finite integers or floats, of any shape.
        scaling: Its `low` may be the larger one: then large values are black.
    """
    low, high = scaling.low, scaling.high
    if values.dtype == np.uint16:
        # A table of what each of the 65536 values becomes is far cheaper than arithmetic on every pixel.
        table = _scaled(np.arange(65536), low, high)
        return np.asarray(table[values])
    return _scaled(values, low, high)


def _scaled(values: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint8]:
    scale = 255 / ((high - low) or 1.0)
    # In place: an image at the pixel limit takes 200 MB as it is. Scaled first, so that no difference overflows.
    wide = values.astype(np.float32)
    wide *= np.float32(scale)
    wide -= np.float32(low * scale)
    np.clip(np.rint(wide, out=wide), 0, 255, out=wide)
    return wide.astype(np.uint8)


def significant_bits(values: NDArray[np.generic], scaling: Scaling) -> int:
    """Returns the bits that the scaling spans for integers, and the size of their type for floats."""
    if np.issubdtype(values.dtype, np.floating):
        return values.dtype.itemsize * 8
    return max(1, int(scaling.high - scaling.low).bit_length())
