"""How much memory decoding one image takes, and a limit on it over all threads of the process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image

from brainmri.blocking import NEVER, Stop

ORDINARY_BYTES = 64 * 2**20
"""Up to here an image is decoded at once: a slice of 1024 x 1024 pixels takes 20 MB at most."""

_LARGE = threading.RLock()
_ASK_S = 0.05
"""How often whoever waits for the lock asks whether somebody still waits for the image."""

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
def decoding(image: Image.Image, stop: Stop = NEVER) -> Iterator[None]:
    """Holds the memory of one image while it is decoded: large ones one at a time, ordinary ones beside them."""
    with holding(peak_bytes(image), stop):
        yield


class LargeImage(Exception):
    """An image beyond `ORDINARY_BYTES`, met where only ordinary ones may be decoded."""


@dataclass
class _Here(threading.local):
    ordinary_only: bool = False


_here = _Here()


@contextmanager
def ordinary_images_only(only: bool = True) -> Iterator[None]:
    """Makes this thread raise `LargeImage` for a large image, before it is decoded, in place of waiting its turn."""
    before, _here.ordinary_only = _here.ordinary_only, only
    try:
        yield
    finally:
        _here.ordinary_only = before


@contextmanager
def holding(peak: int, stop: Stop = NEVER) -> Iterator[None]:
    """Holds `peak` bytes of memory: beyond `ORDINARY_BYTES` one caller at a time.

    Raises:
        LargeImage: It is beyond, and this thread is for ordinary images.
        Stopped: Nobody waits for the image any more.
    """
    stop.check()
    if peak <= ORDINARY_BYTES:
        yield
        return
    if _here.ordinary_only:
        raise LargeImage
    while not _LARGE.acquire(timeout=_ASK_S):
        stop.check()
    try:
        stop.check()
        yield
    finally:
        _LARGE.release()
