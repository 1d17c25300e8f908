"""Where the head is in a slice: what is brighter than the background."""

import numpy as np
from numpy.typing import NDArray

from training.data.boxes import Box

_DARKEST = 12.0
_SHARE = 0.12
_FILLED = 0.03


def tissue(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Returns for each pixel of a grey image `[H, W]` (0 to 255) whether it is brighter than background."""
    bright = float(np.percentile(image[::4, ::4], 99))
    return np.asarray(image > max(_DARKEST, _SHARE * bright))


def head_box(image: NDArray[np.float32]) -> Box:
    """Returns the box around the rows and columns that hold tissue; the whole image where none does."""
    inside = tissue(image)
    rows, columns = (np.flatnonzero(inside.mean(axis=axis) > _FILLED) for axis in (1, 0))
    if len(rows) < 2 or len(columns) < 2:
        return Box(0.0, 0.0, 1.0, 1.0)
    height, width = image.shape
    return Box(columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
