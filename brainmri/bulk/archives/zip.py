"""Images out of a zip file, without trusting its directory."""

import io
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Sequence
from typing import BinaryIO

from brainmri.blocking import Stop, Stopped
from brainmri.bulk.archives.members import ArchiveLimits, Listing, Member, refused_kind, shown
from brainmri.bulk.archives.reading import Progress, checked
from brainmri.errors import ArchiveRefused, ArchiveTooLarge, ImageUnreadable

_ENCRYPTED = 0x1 | 0x40 | 0x2000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENTRY = b"PK\x01\x02"
_MOST_ENTRY_BYTES = 512
"""Of an entry of the directory, on average: 46, the name, and dates of various systems."""

_LOCAL_HEADER_BYTES = 30
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, NotImplementedError, RuntimeError)
"""What `zipfile` raises for a member whose local header or data is broken."""


class ZipArchive:
    """One opened zip file; see `brainmri.bulk.archives.archive.Archive`.

    Args:
        file: Seekable, at its beginning; the caller closes it.
        size: Its bytes.
        limits: What is refused.
        stop: Ends listing and reading.

    Raises:
        ArchiveRefused: See `open_archive`.
        Stopped: Nobody waits for it.
    """

    def __init__(self, file: BinaryIO, size: int, limits: ArchiveLimits, stop: Stop) -> None:
        listing = Listing(limits, size)
        self._progress = Progress(stop)
        self._size = size
        directory = _Directory(checked(file, self._progress), limits.max_members, listing)
        try:
            self._zip = zipfile.ZipFile(directory)
        except (ArchiveRefused, Stopped):
            raise
        except Exception as error:
            # Besides BadZipFile it raises whatever a broken field leads to: struct.error, ValueError, UnicodeError.
            raise ArchiveRefused(
                "The zip file's directory cannot be read: it is damaged or cut off. Pack or send it again."
            ) from error
        directory.opened = True
        self._lock = threading.Lock()
        self._infos = self._zip.infolist()
        unpacked = 0
        for info in self._infos:
            stop.check()
            unpacked += info.file_size
            _check_entry(info)
            is_folder = info.filename.endswith(("/", "\\"))
            listing.add(info.filename, info.file_size, unpacked, is_folder=is_folder)
        _check_overlaps(self._infos)
        self.members: Sequence[Member] = tuple(listing.members)

    def read(self, member: Member, size: int) -> bytes:
        """Returns the first `size` bytes of a member, at most all of it.

        Raises:
            ImageUnreadable: It cannot be unpacked, or its checksum is wrong.
            Stopped: Nobody waits for it.
        """
        info = self._infos[member.entry]
        # `zipfile` would ask the system for a place that no file has.
        if not 0 <= info.header_offset <= self._size:
            raise _damaged(member, "its data begins outside of the archive")
        with self._lock:
            self._progress.step()
            self._progress.check()
            try:
                # Without a size it would unpack more than the directory declares before it cuts that off.
                with self._zip.open(info) as unpacked:
                    return unpacked.read(size)
            except _DAMAGED as error:
                raise _damaged(member, str(error)) from error

    def close(self) -> None:
        """Forgets the directory."""
        self._zip.close()


class _Directory(io.BufferedIOBase):
    """A zip file that refuses a directory of too many entries before `zipfile` makes an object of each.

    `zipfile` reads the directory in one piece, as long as the file says it is, whatever number of entries it declares.
    """

    def __init__(self, file: BinaryIO, max_entries: int, listing: Listing) -> None:
        self._file = file
        self._most_bytes = max_entries * _MOST_ENTRY_BYTES + 2**16
        self._listing = listing
        self.opened = False

    def read(self, size: int | None = -1, /) -> bytes:
        if self.opened:
            return self._file.read(-1 if size is None else size)
        if size is not None and size > self._most_bytes:
            raise ArchiveTooLarge(
                f"The zip file's directory has {size} bytes; it may have {self._most_bytes}. Send several archives.",
                limit=f"{self._most_bytes} bytes",
            )
        data = self._file.read(-1 if size is None else size)
        self._listing.check_count(data.count(_ENTRY))
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _damaged(member: Member, how: str) -> ImageUnreadable:
    return ImageUnreadable(f"The archive's file {shown(member.name)} is damaged: {how}. Pack it again.")


def _check_entry(info: zipfile.ZipInfo) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise ArchiveRefused(f"The zip file's {shown(info.filename)} is encrypted. Pack it without a password.")
    if info.compress_type not in _METHODS:
        raise ArchiveRefused(
            f"The zip file's {shown(info.filename)} is compressed in an uncommon way. Pack it with deflate, the usual"
            " method, or without compression.",
            limit="stored or deflate",
        )
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise refused_kind(info.filename, "a link", "zip without --symlinks")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise refused_kind(info.filename, "a device or pipe")


def _check_overlaps(infos: Sequence[zipfile.ZipInfo]) -> None:
    """Refuses entries that share bytes, by which a small file unpacks to any size (Fifield, WOOT 2019)."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise ArchiveRefused("The zip file's entries overlap, as those of archive bombs do. Pack it again.")
        end = info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size
