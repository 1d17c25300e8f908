"""How much memory decoding one image takes, and a limit on it over all threads of the process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

ORDINARY_BYTES = 64 * 2**20
"""Up to here an image is decoded at once: a slice of 1024 x 1024 pixels takes 20 MB at most."""

_LARGE = threading.Lock()

_BYTES_OF_MODE = {"1": 3, "L": 3, "P": 9, "I;16": 8, "I;16B": 8, "I;16L": 8, "I;16N": 8, "I": 18, "F": 18}
"""Bytes for each pixel at the highest point of decoding and converting, see `peak_bytes`; others are colour."""

_COLOUR = 12
_TRANSPARENT = 24
_TURNED = 4
_WEBP = 12
"""Its decoder keeps two frames and hands a third one over, whatever the mode."""


def peak_bytes(image: Image.Image) -> int:
    """Returns the most memory, in bytes, that an opened image takes until it is uint8 pixels; nothing is decoded.

    `tests/imaging/test_memory.py` compares it with what processes really took.
    """
    each = _TRANSPARENT if image.has_transparency_data else _BYTES_OF_MODE.get(image.mode, _COLOUR)
    if image.format == "WEBP":
        each += _WEBP
    width, height = image.size
    return width * height * (each + _TURNED)


@contextmanager
def decoding(image: Image.Image) -> Iterator[None]:
    """Holds the memory of one image while it is decoded: large ones one at a time, ordinary ones beside them."""
    with holding(peak_bytes(image)):
        yield


@contextmanager
def holding(peak: int) -> Iterator[None]:
    """Holds `peak` bytes of memory: beyond `ORDINARY_BYTES` one caller at a time."""
    if peak <= ORDINARY_BYTES:
        yield
        return
    with _LARGE:
        yield
