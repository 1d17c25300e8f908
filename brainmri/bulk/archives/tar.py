"""Images out of a tar file, plain or compressed with gzip, without trusting its headers."""

import gzip
import tarfile
import threading
import zlib
from collections.abc import Sequence
from typing import BinaryIO

from brainmri.blocking import Stop, Stopped
from brainmri.bulk.archives.members import ArchiveLimits, Listing, Member, refused_kind, shown
from brainmri.bulk.archives.reading import Progress, checked, skip
from brainmri.bulk.archives.tar_headers import Header, HeaderReader, damaged
from brainmri.errors import ArchiveRefused, ImageUnreadable


class TarArchive:
    """One opened tar file; see `brainmri.bulk.archives.archive.Archive`.

    Reading members in their order takes one pass over a compressed file; going back starts it again.

    Args:
        file: Seekable, at its beginning; the caller closes it.
        size: Its bytes.
        limits: What is refused.
        stop: Ends listing and reading.
        compressed: Whether it is gzip.

    Raises:
        ArchiveRefused: See `open_archive`.
        Stopped: Nobody waits for it.
    """

    def __init__(self, file: BinaryIO, size: int, limits: ArchiveLimits, stop: Stop, *, compressed: bool) -> None:
        self._progress = Progress(stop)
        source = checked(file, self._progress)
        self._own = gzip.GzipFile(fileobj=source, mode="rb") if compressed else None
        self._data = self._own or source
        self._lock = threading.Lock()
        self._starts: list[int] = []
        listing = Listing(limits, size)
        try:
            self._list(listing)
        except (ArchiveRefused, Stopped):
            raise
        except Exception as error:
            # Besides TarError it raises whatever a broken header leads to: EOFError, zlib.error, ValueError.
            raise damaged() from error
        self.members: Sequence[Member] = tuple(listing.members)

    def read(self, member: Member, size: int) -> bytes:
        """Returns the first `size` bytes of a member, at most all of it.

        Raises:
            ImageUnreadable: It cannot be unpacked, or the file was cut off since it was opened.
            Stopped: Nobody waits for it.
        """
        with self._lock:
            self._progress.step()
            self._progress.check()
            try:
                skip(self._data, self._starts[member.entry], self._progress)
                data = self._data.read(size)
            except (gzip.BadGzipFile, zlib.error, EOFError) as error:
                raise ImageUnreadable(f"The archive is damaged at {shown(member.name)}. Pack it again.") from error
        if len(data) < size:
            raise ImageUnreadable(f"The archive ends within {shown(member.name)}. Send it again.")
        return data

    def close(self) -> None:
        """Ends decompression."""
        if self._own is not None:
            self._own.close()

    def _list(self, listing: Listing) -> None:
        headers = HeaderReader(self._data, self._progress)
        with tarfile.open(
            fileobj=headers, mode="r:", tarinfo=Header, encoding="utf-8", errors="surrogateescape"
        ) as tar:
            while (info := tar.next()) is not None:
                _check_kind(info)
                self._starts.append(info.offset_data)
                # Checked before the next header is looked for: only then is this member decompressed.
                listing.add(info.name, info.size, info.offset_data + info.size, is_folder=info.isdir())
                headers.next_member()
                # They would all be kept a second time.
                tar.members.clear()  # type: ignore[attr-defined]  # not in its stub
        # A file ends with a block of zeros, or without one; `tarfile` takes a damaged header for the end as well.
        if any(headers.last):
            raise damaged()


def _check_kind(info: tarfile.TarInfo) -> None:
    if info.islnk():
        # What GNU tar writes for a second name of a file, also with --dereference.
        raise refused_kind(info.name, "a hard link", "tar --hard-dereference")
    if info.issym():
        raise refused_kind(info.name, "a link", "tar --dereference --hard-dereference")
    if not (info.isreg() or info.isdir()):
        raise refused_kind(info.name, "a device or pipe")
    if info.size < 0:
        raise damaged()
