"""Bounds on the work that a small file can ask of a decoder, which a limit on bytes and pixels does not set."""

import io
import re

from brainmri.blocking import NEVER, Stop

MAX_JPEG_SCANS = 32
"""A progressive JPEG has about 10 scans, each a pass over all pixels: 200 in a 207 KB file took 8.9 s."""

MAX_JPEG_MARKERS = 10_000
MAX_READS_TO_OPEN = 10_000
"""Ordinary files need tens. 16 MiB of empty PNG chunks took 6 s, of tiny EXIF segments over 40 s."""

MAX_READS_TO_COUNT = 100_000
"""The frames of a GIF are found by walking all of its blocks, of 255 bytes each."""

MAX_DICOM_READS = 200_000
"""Two for each element; an enhanced object of 500 frames has some 40 elements a frame."""

MAX_FRAGMENT_READS = 100_000
"""Three for each fragment of compressed pixels; a frame has a few."""

MAX_READS_TO_LOAD = 1_000_000
"""A run-length encoded BMP is read run by run; 16 MiB of PNG in 8 KiB chunks needs 8,000 reads."""

# Any JPEG marker but a stuffed zero, a restart (RST0 to RST7) or a fill byte.
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01


class CountedReads(io.BytesIO):
    """A file in memory that refuses to be read more often than allowed, and at all once its reader is to stop."""

    def __init__(self, data: bytes, reads: int, stop: Stop = NEVER) -> None:
        super().__init__(data)
        self._left = reads
        self._stop = stop

    def allow(self, reads: int) -> None:
        """Sets how many more reads are allowed."""
        self._left = reads

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads like `io.BytesIO`.

        Raises:
            OSError: No read is left.
            Stopped: Nobody waits for the image any more.
        """
        self._stop.check()
        self._left -= 1
        if self._left < 0:
            raise OSError("The file is cut into too many pieces.")
        return super().read(size)


def has_too_many_scans(jpeg: bytes) -> bool:
    """Tells whether a JPEG's first image has more scans or markers than any encoder writes.

    Walks the markers as libjpeg does: a segment's payload is skipped, so an embedded thumbnail does not count,
    and nothing after the end of the image does.
    """
    scans, at = 0, 2
    for _ in range(MAX_JPEG_MARKERS):
        found = _MARKER.search(jpeg, at)
        if found is None or found[1][0] == _EOI:
            return False
        marker, at = found[1][0], found.end()
        scans += marker == _SOS
        if scans > MAX_JPEG_SCANS:
            return True
        if marker not in (_SOI, _TEM):
            at += int.from_bytes(jpeg[at : at + 2], "big")
    return True
