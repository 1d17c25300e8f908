"""Slices of the dataset made unlike a slice: inverted, shuffled, drowned in noise, several on one sheet."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.near.image import ALTERED, NearImage

Pixels = NDArray[np.uint8]
_SIDE, _TILES, _SLICE_SHARE = 256, 4, 20


def altered_images(kind: str, number: int, slices: Sequence[Pixels]) -> NearImage:
    """Returns image `number` of `kind`, made of the grey slices `[H, W]` that it takes: one, or four for a sheet."""
    rng = np.random.default_rng([number, sum(kind.encode())])
    squares = [np.asarray(Image.fromarray(pixels).convert("L").resize((_SIDE, _SIDE))) for pixels in slices]
    return NearImage(f"{kind}/{number:02d}", kind, ALTERED, ALTERATIONS[kind](squares, rng))


def _inverted(squares: Sequence[Pixels], rng: np.random.Generator) -> Pixels:
    del rng
    return 255 - squares[0]


def _shuffled(squares: Sequence[Pixels], rng: np.random.Generator) -> Pixels:
    tile = _SIDE // _TILES
    tiles = [
        squares[0][row : row + tile, column : column + tile]
        for row in range(0, _SIDE, tile)
        for column in range(0, _SIDE, tile)
    ]
    order = rng.permutation(len(tiles))
    return np.vstack([np.hstack([tiles[i] for i in order[row * _TILES :][:_TILES]]) for row in range(_TILES)])


def _drowned(squares: Sequence[Pixels], rng: np.random.Generator) -> Pixels:
    noise = rng.integers(0, 256, (_SIDE, _SIDE))
    mixed = (squares[0].astype(np.int64) * _SLICE_SHARE + noise * (100 - _SLICE_SHARE)) // 100
    return mixed.astype(np.uint8)


def _sheet(squares: Sequence[Pixels], rng: np.random.Generator) -> Pixels:
    del rng
    return np.vstack([np.hstack(squares[:2]), np.hstack(squares[2:4])])


ALTERATIONS: dict[str, Callable[[Sequence[Pixels], np.random.Generator], Pixels]] = {
    "inverted": _inverted,
    "shuffled": _shuffled,
    "drowned": _drowned,
    "sheet": _sheet,
}
