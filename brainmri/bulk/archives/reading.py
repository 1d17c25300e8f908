"""Reading an archive that somebody else made: it ends when nobody waits for it, and when it gets nowhere."""

import gzip
import io
import time
from typing import Any, BinaryIO

from brainmri.blocking import Stop
from brainmri.errors import ArchiveRefused

MOST_CPU_S = 10.0
"""CPU time without a step forward, in seconds; the largest headers take milliseconds, a slow disk or network none."""

_BUFFER_BYTES = 2**16
_SKIP_BYTES = 2**18


class Progress:
    """Ends the reading of an archive that nobody waits for, or whose headers keep a CPU busy.

    Args:
        stop: Tells that nobody waits.
    """

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self.step()

    def step(self) -> None:
        """Begins to count again; call it in the thread that goes on."""
        self._end = time.thread_time() + MOST_CPU_S

    def check(self) -> None:
        """Ends the reading if it has to.

        Raises:
            Stopped: Nobody waits for it.
            ArchiveRefused: It took too long.
        """
        self._stop.check()
        if time.thread_time() > self._end:
            raise ArchiveRefused(
                f"The headers of one file in the archive took more than {MOST_CPU_S:g} s. Pack it again.",
                limit=f"{MOST_CPU_S:g} s",
            )


class _CheckedFile(io.RawIOBase):
    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        self._file = file
        self._progress = progress

    def readinto(self, buffer: Any, /) -> int:
        self._progress.check()
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def checked(file: BinaryIO, progress: Progress) -> io.BufferedReader:
    """Returns a file that checks the progress whenever it reads; below gzip, also when nothing comes out of that.

    Args:
        file: Seekable; stays open.
        progress: Of whoever reads.
    """
    return io.BufferedReader(_CheckedFile(file, progress), _BUFFER_BYTES)


def skip(data: io.BufferedIOBase, offset: int, progress: Progress) -> None:
    """Goes to a place; in a compressed file piece by piece, because `GzipFile.seek` cannot be stopped.

    Args:
        data: A gzip file, or a file on disk.
        offset: The place, in unpacked bytes.
        progress: Of the reading.

    Raises:
        Stopped: Nobody waits for it.
    """
    if not isinstance(data, gzip.GzipFile):
        data.seek(offset)
        return
    if offset < data.tell():
        data.rewind()
    while (left := offset - data.tell()) > 0 and data.read(min(left, _SKIP_BYTES)):
        progress.step()
