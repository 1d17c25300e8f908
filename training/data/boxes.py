"""Boxes around tumours, in shares of an image's width and height."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Box:
    """An upright rectangle; x runs to the right, y downwards, both in shares of the image's sides.

    Attributes:
        left: Smallest x.
        top: Smallest y.
        right: Largest x.
        bottom: Largest y.
    """

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """Returns the share of the image that the box covers."""
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)

    def padded(self, width: int, height: int) -> "Box":
        """Returns the box of a `width` by `height` image after it was padded to a centred square."""
        side = max(width, height)
        x, y = width / side, height / side
        left, top = (1 - x) / 2, (1 - y) / 2
        return Box(left + self.left * x, top + self.top * y, left + self.right * x, top + self.bottom * y)

    def clipped(self) -> "Box":
        """Returns the part inside the image."""
        return Box(max(0.0, self.left), max(0.0, self.top), min(1.0, self.right), min(1.0, self.bottom))

    def grown(self, margin: float) -> "Box":
        """Returns the box with `margin`, a share of the image's side, added on every side."""
        return Box(self.left - margin, self.top - margin, self.right + margin, self.bottom + margin)

    def mirrored(self) -> "Box":
        """Returns the box of the image that was mirrored left to right."""
        return Box(1 - self.right, self.top, 1 - self.left, self.bottom)

    def moved(self, matrix: NDArray[np.floating], offset: NDArray[np.floating]) -> "Box":
        """Returns the upright box around this one after `p -> matrix @ p + offset`, in shares."""
        corners = np.array([(x, y) for x in (self.left, self.right) for y in (self.top, self.bottom)], dtype=np.float64)
        x, y = (corners @ matrix.T + offset).T
        return Box(float(x.min()), float(y.min()), float(x.max()), float(y.max()))

    def values(self) -> tuple[float, float, float, float]:
        """Returns left, top, right, bottom."""
        return self.left, self.top, self.right, self.bottom


def from_centre(x: float, y: float, width: float, height: float) -> Box:
    """Returns the box that has its centre at (`x`, `y`)."""
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
