"""Near-duplicate slices: two images are one scan when their DCT hashes or their thumbnails agree.

The dataset carries no patient ids, so groups of near-duplicates are the unit that a split must not cut.
"""

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


def grey(pixels: NDArray[np.uint8]) -> Image.Image:
    """Returns decoded pixels `[H, W]` or `[H, W, 3]` as a grey image."""
    return Image.fromarray(pixels).convert("L")


def dct_hash(image: Image.Image) -> NDArray[np.bool_]:
    """Returns the 255-bit perceptual hash of a grey image: the lowest DCT coefficients against their median.

    The zero frequency is left out, so brightness does not matter (Zauner 2010, pHash).
    """
    side = HASH_SIDE * 4
    small = np.asarray(image.resize((side, side), Image.Resampling.LANCZOS), dtype=np.float64)
    low = dctn(small, norm="ortho")[:HASH_SIDE, :HASH_SIDE].ravel()[1:]
    return np.asarray(low > np.median(low))


def thumbnail(image: Image.Image) -> NDArray[np.float32]:
    """Returns a 32x32 thumbnail as a unit vector `[1024]` of mean zero; the zero vector for a flat image."""
    side = THUMBNAIL_SIDE
    small = np.asarray(image.resize((side, side), Image.Resampling.BOX), dtype=np.float32).ravel()
    centred = small - small.mean()
    norm = float(np.linalg.norm(centred))
    return np.asarray(centred / norm if norm > 0 else centred, dtype=np.float32)


def near_pairs(hashes: NDArray[np.bool_], thumbnails: NDArray[np.float32]) -> NDArray[np.intp]:
    """Returns the index pairs `[P, 2]`, first below second, of images that are near-duplicates.

    Args:
        hashes: `[N, 255]` from `dct_hash`.
        thumbnails: `[N, 1024]` from `thumbnail`.
    """
    signs = np.where(hashes, 1.0, -1.0).astype(np.float32)
    found = []
    for start in range(0, len(signs), _BLOCK):
        rows = slice(start, start + _BLOCK)
        # The dot product of two sign vectors is bits minus twice their Hamming distance.
        close = signs[rows] @ signs.T >= HASH_BITS - 2 * MAX_HASH_DISTANCE
        close |= thumbnails[rows] @ thumbnails.T >= MIN_CORRELATION
        pairs = np.argwhere(close)
        pairs[:, 0] += start
        found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    return np.concatenate(found) if found else np.empty((0, 2), dtype=np.intp)


def group(count: int, pairs: NDArray[np.intp]) -> NDArray[np.intp]:
    """Returns a group number for each of `count` images `[N]`: connected components over `pairs`."""
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, numbers = connected_components(graph, directed=False)
    return np.asarray(numbers, dtype=np.intp)
