"""What Pillow does not read, or does not say, of a TIFF file."""

import contextlib
import ctypes
import functools
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, _imaging

_WIDTH, _BITS, _PHOTOMETRIC, _FILL_ORDER, _SAMPLES = 256, 258, 262, 266, 277
_PREDICTOR, _TILE_WIDTH, _TILE_LENGTH, _SAMPLE_FORMAT, _S_MIN, _S_MAX = 317, 322, 323, 339, 340, 341
_SHORT, _LONG = 3, 4
_MIN_IS_WHITE, _SIGNED, _FLOAT = 0, 2, 3
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_PACKED = frozenset({9, 10, 11, 12, 13, 14, 15})
_FLOATS = {16: "f2", 64: "f8"}
_ROWS_AT_ONCE = 64
_MOST_WIDTH = 2**24


def tile_pixels(image: Image.Image) -> int:
    """Returns the pixels of one tile of a tiled TIFF, or 0.

    A tile is decoded as a whole: one of 46000x46000 in a 64x64 image of 1 MB took 2.1 GB of memory.
    """
    tags = _tags(image)
    return int(tags.get(_TILE_WIDTH, 0)) * int(tags.get(_TILE_LENGTH, 0))


def is_signed(image: Image.Image) -> bool:
    """Tells whether the values of a TIFF are signed integers."""
    return _first(_tags(image).get(_SAMPLE_FORMAT)) == _SIGNED


def declared_range(image: Image.Image) -> tuple[float, float] | None:
    """Returns the smallest and the largest value that a TIFF declares (SMinSampleValue, SMaxSampleValue), or None."""
    low, high = (_first(_tags(image).get(tag)) for tag in (_S_MIN, _S_MAX))
    if isinstance(low, int | float) and isinstance(high, int | float) and low < high:
        return float(low), float(high)
    return None


def _tags(image: Image.Image) -> Any:
    return getattr(image, "tag_v2", {})


def _first(value: object) -> object:
    return value[0] if isinstance(value, tuple) and value else value


@dataclass
class Complaints:
    """What libtiff had to say in one thread.

    Attributes:
        errors: How many errors.
    """

    errors: int = 0


@dataclass
class _Listening(threading.local):
    complaints: Complaints = field(default_factory=Complaints)


_listening = _Listening()


@contextlib.contextmanager
def libtiff_complaints() -> Iterator[Complaints]:
    """Counts libtiff's errors in this thread; without it, each is a line on stderr, and the picture is garbage.

    A fax of 60 KB wrote 1.2 MB of them. Pillow offers no way to hear them.
    """
    _silence()
    _listening.complaints = complaints = Complaints()
    yield complaints


_Handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)


@_Handler  # type: ignore[untyped-decorator]
def _on_error(_module: bytes, _text: bytes, _arguments: int) -> None:
    _listening.complaints.errors += 1


@_Handler  # type: ignore[untyped-decorator]
def _on_warning(_module: bytes, _text: bytes, _arguments: int) -> None:
    """Damaged metadata is common and harms no pixel."""


@functools.cache
def _silence() -> None:
    # Pillow's own library leads to the libtiff that it has loaded, be it a file of the wheel or of the system.
    library = ctypes.CDLL(_imaging.__file__)
    for name, handler in (("TIFFSetErrorHandler", _on_error), ("TIFFSetWarningHandler", _on_warning)):
        function = getattr(library, name, None)
        if function is not None:
            function.restype, function.argtypes = ctypes.c_void_p, [_Handler]
            function(handler)


@dataclass(frozen=True)
class WideTiff:
    """A TIFF of one sample of more than 8 bits a pixel, rewritten where Pillow does not read it as it is.

    Attributes:
        data: The file, minimum black; where samples are to be taken from bytes, its width is that of a row in bytes.
        width: Of the picture, in pixels.
        bits: Of a sample.
        min_is_white: Whether the smallest value is white.
        number: What NumPy calls a sample of a kind that Pillow does not know; empty for others.
    """

    data: bytes
    width: int
    bits: int
    min_is_white: bool
    number: str

    @property
    def as_bytes(self) -> bool:
        """Whether the file's pixels are bytes of which `unpack` makes samples."""
        return self.bits in _PACKED or bool(self.number)

    def unpack(self, rows: NDArray[np.uint8]) -> NDArray[np.generic]:
        """Returns the samples, `[H, W]`, of rows of bytes, `[H, row bytes]`; the first bit is the highest."""
        if self.number:
            return rows.view(self.number)
        start = np.arange(self.width) * self.bits
        at, shift = start >> 3, (24 - self.bits - (start & 7)).astype(np.uint32)
        samples = np.empty((len(rows), self.width), np.uint16)
        for top in range(0, len(rows), _ROWS_AT_ONCE):
            block = np.pad(rows[top : top + _ROWS_AT_ONCE], ((0, 0), (0, 2))).astype(np.uint32)
            three = block[:, at] << 16 | block[:, at + 1] << 8 | block[:, at + 2]
            samples[top : top + _ROWS_AT_ONCE] = (three >> shift) & (2**self.bits - 1)
        return samples


def wide_tiff(data: bytes) -> WideTiff | None:
    """Returns a TIFF whose greys have more than 8 bits; None for any other file, also for a damaged one."""
    order = _ORDERS.get(data[:4])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(order + "I", data, 4)
        entries = _numbers(data, order, directory)
    except struct.error:
        return None
    value = {tag: number for tag, (_, number) in entries.items()}
    bits, width = value.get(_BITS, 1), value.get(_WIDTH, 0)
    if bits <= 8 or not 0 < width < _MOST_WIDTH or value.get(_SAMPLES, 1) != 1:
        return None
    number = order + _FLOATS[bits] if bits in _FLOATS and value.get(_SAMPLE_FORMAT) == _FLOAT else ""
    changed = {_PHOTOMETRIC: 1}
    if bits in _PACKED or number:
        if value.get(_FILL_ORDER, 1) != 1 or value.get(_PREDICTOR, 1) != 1:
            return None
        row_bytes, tile_bytes = (-(-value.get(tag, 0) * bits // 8) for tag in (_WIDTH, _TILE_WIDTH))
        changed |= {_SAMPLE_FORMAT: 1, _BITS: 8, _WIDTH: row_bytes, _TILE_WIDTH: tile_bytes}
    min_is_white = value.get(_PHOTOMETRIC, 1) == _MIN_IS_WHITE
    return WideTiff(_rewritten(data, order, entries, changed), width, bits, min_is_white, number)


def _rewritten(data: bytes, order: str, entries: dict[int, tuple[int, int]], changed: dict[int, int]) -> bytes:
    file = bytearray(data)
    for tag, value in changed.items():
        if tag in entries:
            # As one LONG, whatever it was: a row in bytes may exceed a SHORT.
            struct.pack_into(order + "HII", file, entries[tag][0] + 2, _LONG, 1, value % 2**32)
    return bytes(file)


def _numbers(data: bytes, order: str, directory: int) -> dict[int, tuple[int, int]]:
    """Returns tag to the place of its entry and its value, for entries of one SHORT or LONG."""
    (count,) = struct.unpack_from(order + "H", data, directory)
    found = {}
    for place in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(order + "HHI", data, place)
        if values == 1 and kind in (_SHORT, _LONG):
            (value,) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), data, place + 8)
            found[tag] = (place, value)
    return found
