"""Images out of archives that somebody else made: zip, tar, and tar with gzip.

Nothing is ever unpacked to disk, so no path of a member becomes a path of this machine; absolute paths, `..`, links and
archives in archives are refused all the same, because whoever meets them in results should not have to think about it.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Protocol

from brainmri.blocking import Stop
from brainmri.bulk.archives.members import ArchiveLimits, Member, shown
from brainmri.bulk.archives.tar import TarArchive
from brainmri.bulk.archives.zip import ZipArchive
from brainmri.errors import ArchiveRefused, ImageTooLarge, ImageUnreadable

__all__ = ["KINDS", "Archive", "ArchiveLimits", "Member", "is_archive_name", "open_archive"]

KINDS = (".zip", ".tar", ".tar.gz", ".tgz")
"""Name endings of the archives that are read."""

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_GZIP = b"\x1f\x8b"
_TAR = b"ustar"
_TAR_AT = 257
_DEFAULT = ArchiveLimits()


class _Format(Protocol):
    members: Sequence[Member]

    def read(self, member: Member, size: int) -> bytes: ...

    def close(self) -> None: ...


class Archive:
    """An archive whose members have been listed and checked. Safe for threads, which read one after the other.

    Args:
        source: What reads its format.
        max_member_bytes: Largest member that is unpacked, in bytes.
    """

    def __init__(self, source: _Format, max_member_bytes: int) -> None:
        self._source = source
        self._max_member_bytes = max_member_bytes

    @property
    def members(self) -> Sequence[Member]:
        """Its files in their order in the archive; no folders, and nothing that an operating system left there."""
        return self._source.members

    def read(self, member: Member) -> bytes:
        """Returns the bytes of one member. Reading in order is fastest: a compressed tar is not random access.

        Raises:
            ImageTooLarge: It is larger than one image may be; nothing of it was unpacked.
            ImageUnreadable: It cannot be unpacked.
            Stopped: Nobody waits for it.
        """
        most = self._max_member_bytes
        if member.size > most:
            raise ImageTooLarge(
                f"{shown(member.name)} has {member.size} bytes; an image may have at most {most}.",
                limit=f"{most} bytes",
            )
        return self._source.read(member, member.size)

    def head(self, member: Member, size: int) -> bytes:
        """Returns the first bytes of one member, at most `size`; empty if it cannot be unpacked.

        Raises:
            Stopped: Nobody waits for it.
        """
        try:
            return self._source.read(member, min(size, member.size))
        except ImageUnreadable:
            return b""


@contextmanager
def open_archive(file: BinaryIO, limits: ArchiveLimits = _DEFAULT, stop: Stop | None = None) -> Iterator[Archive]:
    """Opens an archive and checks every entry, before any is unpacked. What it is, its first bytes tell.

    Args:
        file: Seekable; stays open.
        limits: What is refused.
        stop: Ends listing and reading; nothing does if None.

    Yields:
        The archive, until the end of the context.

    Raises:
        ArchiveRefused: Not a readable zip or tar file; encrypted; or with a link, a device, a path that is absolute or
            leads out, an archive, two files of one name, or entries that overlap.
        ArchiveTooLarge: Too many entries, too many bytes once unpacked, or packed too well to be images.
        Stopped: Nobody waits for it.
    """
    stop = stop or Stop()
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(_TAR_AT + len(_TAR))
    file.seek(0)
    source: _Format
    if head.startswith(_ZIP):
        source = ZipArchive(file, size, limits, stop)
    elif head.startswith(_GZIP):
        source = TarArchive(file, size, limits, stop, compressed=True)
    elif head[_TAR_AT:] == _TAR:
        source = TarArchive(file, size, limits, stop, compressed=False)
    else:
        raise ArchiveRefused(
            f"This is not an archive that can be read. Send one of {', '.join(KINDS)}.", limit=", ".join(KINDS)
        )
    try:
        yield Archive(source, limits.max_member_bytes)
    finally:
        source.close()


def is_archive_name(name: str) -> bool:
    """Tells whether a file is an archive that can be read, by its name."""
    return name.lower().endswith(KINDS)
