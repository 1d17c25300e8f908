"""The headers of a tar file, read in bounded memory and time whatever they hold."""

import io
import re
import tarfile
from collections.abc import Mapping
from typing import NoReturn

from brainmri.bulk.archives.members import refused_kind
from brainmri.bulk.archives.reading import Progress, skip
from brainmri.errors import ArchiveRefused

MOST_HEADER_BYTES = 2**20
"""Of all headers between two members; those of long names and of times have a few hundred."""

_MOST_RECORDS = 256
"""Of one extended header; `tar` writes a time or two, a long name, and one for each extended attribute."""

_RECORD = re.compile(rb"([1-9][0-9]{0,7}) ([^=\n\0]{1,255})=")
_SIZE = re.compile(r"[0-9]{1,18}")
_SPARSE = "GNU.sparse."
_SPARSE_NAME = "GNU.sparse.name"
_NOT_FOR_ALL = frozenset({"path", "size", "hdrcharset"})


class HeaderReader(io.BufferedIOBase):
    """A tar file as `tarfile` may see it: it never goes back, and reads a bounded number of bytes between two members.

    Going back is what a negative size leads to (CVE-2025-8194, an endless loop in Python before 3.11.14).

    Args:
        data: The tar file, unpacked while it is read.
        progress: Of the reading.

    Attributes:
        last: What was read last.
    """

    def __init__(self, data: io.BufferedIOBase, progress: Progress) -> None:
        self._data = data
        self._progress = progress
        self.last = b""
        self.next_member()

    def next_member(self) -> None:
        """Begins to count again: a member has been found."""
        self._left = MOST_HEADER_BYTES
        self._progress.step()

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads a header.

        Raises:
            ArchiveRefused: The headers since the last member are too long, or took too long.
            Stopped: Nobody waits for it.
        """
        if size is None or size < 0:
            raise damaged()
        if size > self._left:
            raise ArchiveRefused(
                f"The tar file has more than {MOST_HEADER_BYTES} bytes of headers for one file. Pack it again, without"
                " extended attributes.",
                limit=f"{MOST_HEADER_BYTES} bytes",
            )
        self._left -= size
        self._progress.check()
        self.last = self._data.read(size)
        return self.last

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Skips the content of a member."""
        if whence != io.SEEK_SET or offset < self._data.tell():
            raise damaged()
        skip(self._data, offset, self._progress)
        return self._data.tell()

    def tell(self) -> int:
        """Returns where the next read begins."""
        return self._data.tell()

    def seekable(self) -> bool:
        """Tells that it can skip."""
        return True

    def readable(self) -> bool:
        """Tells that it can be read."""
        return True


class Header(tarfile.TarInfo):
    """One header, of which sparse members are refused unparsed, and of an extended header only name and size count.

    `tarfile` parses maps of sparse members without a limit (61 KB packed took 630 MB and 24 s), searches extended
    headers in quadratic time (CVE-2024-6232), and copies all keys of global headers for each member.
    """

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        """Returns the member that begins here; `tarfile` leaves this method to subclasses."""
        if self.type == tarfile.GNUTYPE_SPARSE:
            _refuse_sparse(self.name)
        if self.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE):
            return self._extended(tar)
        member: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]  # not in its stub
        return member

    def _extended(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        reader: HeaderReader = tar.fileobj  # type: ignore[assignment]
        records = _records(reader.read(-(-self.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE), self.name)
        try:
            member = self.fromtarfile(tar)
        except tarfile.HeaderError as error:
            raise damaged() from error
        if self.type == tarfile.XGLTYPE:
            if found := _NOT_FOR_ALL.intersection(records):
                raise ArchiveRefused(
                    f"The tar file has a global header that sets {min(found)!r} for all of its files. Pack it again."
                )
            return member
        _apply(records, member, tar)
        return member


def damaged() -> ArchiveRefused:
    """Returns the error for a tar file that ends early or has a broken header."""
    return ArchiveRefused("The tar file is damaged or cut off. Pack or send it again.")


def _records(block: bytes, name: str) -> Mapping[str, str]:
    """Returns the records of an extended header (POSIX.1-2008, pax), which must fill it without a gap."""
    data = block.rstrip(b"\0")
    records: dict[str, str] = {}
    at = count = 0
    while at < len(data):
        found, count = _RECORD.match(data, at), count + 1
        end = at + int(found[1]) if found else 0
        if found is None or not found.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise damaged()
        if count > _MOST_RECORDS:
            raise ArchiveRefused(
                f"The tar file has a header of more than {_MOST_RECORDS} records. Pack it again, without extended"
                " attributes.",
                limit=f"{_MOST_RECORDS} records",
            )
        key = found[2].decode("utf-8", "surrogateescape")
        if key in _NOT_FOR_ALL or key.startswith(_SPARSE):
            records[key] = data[found.end() : end - 1].decode("utf-8", "surrogateescape")
        at = end
    if any(key.startswith(_SPARSE) for key in records):
        _refuse_sparse(records.get(_SPARSE_NAME, name))
    return records


def _apply(records: Mapping[str, str], member: tarfile.TarInfo, tar: tarfile.TarFile) -> None:
    if "path" in records:
        member.name = records["path"].rstrip("/")
    if "size" in records:
        if not _SIZE.fullmatch(records["size"]):
            raise damaged()
        member.size = int(records["size"])
        if member.isreg() or member.type not in tarfile.SUPPORTED_TYPES:
            blocks = -(-member.size // tarfile.BLOCKSIZE)
            tar.offset = member.offset_data + blocks * tarfile.BLOCKSIZE


def _refuse_sparse(name: str) -> NoReturn:
    raise refused_kind(name, "a file with holes", "tar without --sparse")
