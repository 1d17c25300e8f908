"""How a slice lies in its frame: mirrored, turned, moved, scaled, stretched; boxes move with it."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from training.data.boxes import Box
from training.fit.head import head_box
from training.fit.part import Part

_VISIBLE = 0.7
"""Share of a box that has to stay in the frame; otherwise the slice stays as it was."""


class Framing(Part):
    """How far framing varies.

    Attributes:
        rotation: Largest angle either way, in degrees.
        quarter: Probability of a further quarter turn.
        flip: Probability of a left-right mirror image.
        reframe: Probability that the head is brought to a random size in the frame; others are zoomed a little.
        zoom: Smallest and largest size of a slice that is not brought to a random size.
        stretch: Largest relative change of the ratio of width to height.
        shift: Largest move along each axis, as a share of the side.
    """

    LATER = frozenset({"zoom"})

    rotation: float = Field(default=20.0, ge=0, le=180)
    quarter: float = Field(default=0.1, ge=0, le=1)
    flip: float = Field(default=0.5, ge=0, le=1)
    reframe: float = Field(default=0.5, ge=0, le=1)
    zoom: tuple[float, float] = (0.87, 1.15)
    stretch: float = Field(default=0.15, ge=0, lt=1)
    shift: float = Field(default=0.06, ge=0, lt=1)


def reframe(
    image: NDArray[np.float32], box: Box | None, how: Framing, rng: np.random.Generator
) -> tuple[NDArray[np.float32], Box | None]:
    """Returns a random framing of a grey image `[H, W]` and its box."""
    head = head_box(image)
    angle = math.radians(rng.uniform(-how.rotation, how.rotation))
    if rng.random() < how.quarter:
        angle += math.pi / 2 * rng.integers(1, 4)
    if rng.random() < how.reframe:
        centre = np.array([(head.left + head.right) / 2, (head.top + head.bottom) / 2])
        zoom = rng.uniform(0.62, 1.05) / max(head.right - head.left, head.bottom - head.top)
        zoom = min(zoom, 1.8)
    else:
        centre, zoom = np.array([0.5, 0.5]), rng.uniform(*how.zoom)
    aspect = math.sqrt(rng.uniform(1 - how.stretch, 1 + how.stretch))
    mirror = -1.0 if rng.random() < how.flip else 1.0
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    forward = turn @ np.diag([mirror * zoom * aspect, zoom / aspect])
    target = 0.5 + rng.uniform(-how.shift, how.shift, 2)
    offset = target - forward @ centre
    moved = None
    if box is not None:
        full = box.moved(forward, offset)
        moved = full.clipped()
        if moved.area < _VISIBLE * full.area:
            return image, box
    return _transformed(image, forward, offset), moved


def _transformed(
    image: NDArray[np.float32], forward: NDArray[np.float64], offset: NDArray[np.float64]
) -> NDArray[np.float32]:
    # Pillow asks where each output pixel comes from, in pixels; the images are square.
    side = image.shape[0]
    inverse = np.linalg.inv(forward)
    start = -inverse @ offset * side
    coefficients = (*inverse[0], start[0], *inverse[1], start[1])
    moved = Image.fromarray(image).transform(
        image.shape[::-1], Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    return np.asarray(moved, dtype=np.float32)
