"""Near-duplicate slices: two images are one scan when their DCT hashes or their thumbnails agree in some position.

Positions are the eight of a square: as it is, turned by quarters, and each of these mirrored. Half of the tumour slices
of Nickparvar's dataset stand in it twice, once mirrored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

HASH_SIDE = 16
HASH_BITS = HASH_SIDE**2 - 1
MAX_HASH_DISTANCE = 10
THUMBNAIL_SIDE = 32
MIN_CORRELATION = 0.995
_BLOCK = 1024

Turn = Callable[[NDArray[np.float32]], NDArray[np.float32]]

IDENTITY: Mapping[str, Turn] = {"upright": lambda grey: grey}
POSITIONS: Mapping[str, Turn] = {
    **IDENTITY,
    "mirrored": np.fliplr,
    "quarter turn": np.rot90,
    "half turn": lambda grey: np.rot90(grey, 2),
    "three quarter turn": lambda grey: np.rot90(grey, 3),
    "mirrored, quarter turn": lambda grey: np.rot90(np.fliplr(grey)),
    "upside down": np.flipud,
    "mirrored, three quarter turn": lambda grey: np.rot90(np.fliplr(grey), 3),
}
"""What an image may look like in another file; together with the identity they form a group."""


@dataclass(frozen=True)
class Looks:
    """What of an image is compared.

    Attributes:
        small: Grey values for the hash, float32 `[64, 64]`.
        thumbnail: Grey values, float32 `[32, 32]`.
    """

    small: NDArray[np.float32]
    thumbnail: NDArray[np.float32]

    @classmethod
    def of(cls, image: Image.Image) -> "Looks":
        """Returns the looks of a grey image."""
        side = HASH_SIDE * 4
        small = np.asarray(image.resize((side, side), Image.Resampling.LANCZOS), dtype=np.float32)
        thumbnail = image.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
        return cls(small, np.asarray(thumbnail, dtype=np.float32))


def dct_hash(small: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Returns the 255-bit perceptual hash of grey values `[64, 64]`: the lowest DCT coefficients against their median.

    The zero frequency is left out, so brightness does not matter (Zauner 2010, pHash).
    """
    low = dctn(small, norm="ortho")[:HASH_SIDE, :HASH_SIDE].ravel()[1:]
    return np.asarray(low > np.median(low))


def unit_vector(thumbnail: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns a thumbnail as a unit vector of mean zero; the zero vector for a flat image."""
    centred = thumbnail.ravel() - thumbnail.mean()
    norm = float(np.linalg.norm(centred))
    return np.asarray(centred / norm if norm > 0 else centred, dtype=np.float32)


def near_pairs(looks: Sequence[Looks], positions: Mapping[str, Turn] = POSITIONS) -> NDArray[np.intp]:
    """Returns the index pairs `[P, 2]`, first below second, of images that agree in one of `positions`."""
    signs, thumbnails = _compared(looks, IDENTITY["upright"])
    found = [np.empty((0, 2), dtype=np.intp)]
    for turn in positions.values():
        turned_signs, turned_thumbnails = _compared(looks, turn)
        for start in range(0, len(signs), _BLOCK):
            rows = slice(start, start + _BLOCK)
            # The dot product of two sign vectors is bits minus twice their Hamming distance.
            close = signs[rows] @ turned_signs.T >= HASH_BITS - 2 * MAX_HASH_DISTANCE
            close |= thumbnails[rows] @ turned_thumbnails.T >= MIN_CORRELATION
            pairs = np.argwhere(close)
            pairs[:, 0] += start
            found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    return np.unique(np.concatenate(found), axis=0)


def _compared(looks: Sequence[Looks], turn: Turn) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    hashes = np.stack([dct_hash(turn(each.small)) for each in looks])
    return np.where(hashes, 1.0, -1.0).astype(np.float32), np.stack([unit_vector(turn(e.thumbnail)) for e in looks])


def group(count: int, pairs: NDArray[np.intp]) -> NDArray[np.intp]:
    """Returns a group number for each of `count` images `[N]`: connected components over `pairs`."""
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, numbers = connected_components(graph, directed=False)
    return np.asarray(numbers, dtype=np.intp)
