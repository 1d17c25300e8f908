"""Images out of a tar file, plain or compressed with gzip, without trusting its headers."""

import gzip
import io
import tarfile
import threading
from collections.abc import Sequence
from typing import BinaryIO

from brainmri.bulk.archives.members import ArchiveLimits, Listing, Member, refused_kind, shown
from brainmri.errors import ArchiveRefused, ImageUnreadable

_MOST_HEADER_BYTES = 2**20
"""Of one header; those of long names and of times have a few hundred."""


class TarArchive:
    """One opened tar file; see `brainmri.bulk.archives.archive.Archive`.

    Reading members in their order takes one pass over a compressed file; going back starts it again.

    Args:
        file: Seekable, at its beginning; the caller closes it.
        size: Its bytes.
        limits: What is refused.
        compressed: Whether it is gzip.

    Raises:
        ArchiveRefused: See `open_archive`.
    """

    def __init__(self, file: BinaryIO, size: int, limits: ArchiveLimits, *, compressed: bool) -> None:
        self._data = gzip.GzipFile(fileobj=file, mode="rb") if compressed else file
        self._own = self._data if compressed else None
        self._lock = threading.Lock()
        self._starts: list[int] = []
        listing = Listing(limits, size)
        try:
            self._list(listing)
        except ArchiveRefused:
            raise
        except Exception as error:
            # Besides TarError it raises whatever a broken header leads to: EOFError, zlib.error, ValueError.
            raise _damaged() from error
        self.members: Sequence[Member] = tuple(listing.members)

    def read(self, member: Member) -> bytes:
        """Returns the bytes of a member; its size has been checked.

        Raises:
            ImageUnreadable: The file was cut off since it was opened.
        """
        with self._lock:
            self._data.seek(self._starts[member.entry])
            data = self._data.read(member.size)
        if len(data) < member.size:
            raise ImageUnreadable(f"The archive ends within {shown(member.name)}. Send it again.")
        return data

    def close(self) -> None:
        """Ends decompression."""
        if self._own is not None:
            self._own.close()

    def _list(self, listing: Listing) -> None:
        headers = _Headers(self._data)
        with tarfile.open(fileobj=headers, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
            while (info := tar.next()) is not None:
                _check_kind(info)
                self._starts.append(info.offset_data)
                # Checked before the next header is looked for: only then is this member decompressed.
                listing.add(info.name, info.size, info.offset_data + info.size, is_folder=info.isdir())
                # They would all be kept a second time.
                tar.members.clear()  # type: ignore[attr-defined]  # not in its stub
        # A file ends with a block of zeros, or without one; `tarfile` takes a damaged header for the end as well.
        if any(headers.last):
            raise _damaged()


class _Headers(io.BufferedIOBase):
    """A tar file as `tarfile` may see it: it neither goes back nor reads much at once.

    Going back is what a negative size leads to (CVE-2025-8194, an endless loop in Python before 3.11.14); a header of
    gigabytes would be read into memory as a whole.
    """

    def __init__(self, data: BinaryIO | gzip.GzipFile) -> None:
        self._data = data
        self.last = b""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _MOST_HEADER_BYTES:
            raise ArchiveRefused(
                f"The tar file has a header of more than {_MOST_HEADER_BYTES} bytes. Pack it again, without extended"
                " attributes.",
                limit=f"{_MOST_HEADER_BYTES} bytes",
            )
        self.last = self._data.read(size)
        return self.last

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence != io.SEEK_SET or offset < self._data.tell():
            raise _damaged()
        return self._data.seek(offset)

    def tell(self) -> int:
        return self._data.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _check_kind(info: tarfile.TarInfo) -> None:
    if info.issym() or info.islnk():
        raise refused_kind(info.name, "a link")
    if info.issparse():
        raise refused_kind(info.name, "a file with holes")
    if not (info.isreg() or info.isdir()):
        raise refused_kind(info.name, "a device or pipe")
    if info.size < 0:
        raise _damaged()


def _damaged() -> ArchiveRefused:
    return ArchiveRefused("The tar file is damaged or cut off. Pack or send it again.")
