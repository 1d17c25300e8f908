"""What an archive of images may hold; the same rules for zip and tar, checked before any member is unpacked."""

import posixpath
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from brainmri.errors import ArchiveRefused, ArchiveTooLarge
from brainmri.text import printable

_NESTED = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".7z", ".rar", ".lz4")
_VOLUME = ".nii.gz"
"""A NIfTI volume, which is not an archive."""

_LEFTOVERS = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
_LEFTOVER_FOLDER = "__MACOSX"
_UNCHECKED_BYTES = 64 * 2**20
"""Up to here any ratio of packing is harmless: a few black slices as BMP are packed 1 to 1000."""

_MOST_NAME_BYTES = 1024
_SEPARATOR = re.compile(r"[/\\]")
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class ArchiveLimits:
    """What is refused.

    Attributes:
        max_members: Most entries, folders included.
        max_member_bytes: Largest file once unpacked, in bytes; a larger one is an error of its own, not the archive's.
        max_unpacked_bytes: Most bytes of all files together once unpacked.
        max_ratio: Most unpacked bytes for each packed one; checked from 64 MiB on.
    """

    max_members: int = 100_000
    max_member_bytes: int = 16 * 2**20
    max_unpacked_bytes: int = 256 * 2**30
    max_ratio: float = 100.0

    def __post_init__(self) -> None:
        """Rejects limits that nothing could meet."""
        if min(self.max_members, self.max_member_bytes, self.max_unpacked_bytes, self.max_ratio) < 1:
            raise ValueError(f"Every limit must be at least 1: {self}.")


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive.

    Attributes:
        name: Its path in the archive, with `/` between the parts; unique, relative and without `..`.
        size: Its bytes once unpacked, as the archive declares them.
        entry: Its place among all entries of the archive, from 0.
    """

    name: str
    size: int
    entry: int


class Listing:
    """Collects the files of one archive, and refuses the archive at the first entry that breaks a rule.

    Args:
        limits: What is refused.
        packed_bytes: Size of the archive itself.
    """

    def __init__(self, limits: ArchiveLimits, packed_bytes: int) -> None:
        self._limits = limits
        self._packed_bytes = packed_bytes
        self._names: set[str] = set()
        self._entries = 0
        self.members: list[Member] = []

    def add(self, name: str, size: int, unpacked_bytes: int, *, is_folder: bool) -> None:
        """Takes the next entry.

        Args:
            name: Its path as the archive has it.
            size: Its bytes once unpacked.
            unpacked_bytes: Those of all entries up to this one, it included.
            is_folder: Folders are checked and counted, but are not members.

        Raises:
            ArchiveRefused: A path that leads out of the archive, a nested archive, or a name that occurs twice.
            ArchiveTooLarge: Too many entries or bytes.
        """
        entry, self._entries = self._entries, self._entries + 1
        self.check_count(self._entries)
        self._check_bytes(unpacked_bytes)
        path = _checked_path(name)
        if is_folder or _is_leftover(path):
            return
        if path.lower().endswith(_NESTED) and not path.lower().endswith(_VOLUME):
            raise ArchiveRefused(
                f"The archive holds another archive, {shown(name)}. Unpack that one, and pack the images themselves."
            )
        if path in self._names:
            raise ArchiveRefused(f"The archive holds two files named {shown(name)}. Give each a name of its own.")
        self._names.add(path)
        self.members.append(Member(path, size, entry))

    def check_count(self, entries: int) -> None:
        """Refuses an archive of more entries than allowed.

        Raises:
            ArchiveTooLarge: There are too many.
        """
        most = self._limits.max_members
        if entries > most:
            raise ArchiveTooLarge(
                f"The archive has more than {most} entries. Send it in several archives.", limit=f"{most} entries"
            )

    def _check_bytes(self, unpacked: int) -> None:
        most, ratio = self._limits.max_unpacked_bytes, self._limits.max_ratio
        if unpacked > most:
            raise ArchiveTooLarge(
                f"The archive has more than {most} bytes once unpacked. Send it in several archives.",
                limit=f"{most} bytes unpacked",
            )
        if unpacked > max(_UNCHECKED_BYTES, self._packed_bytes * ratio):
            raise ArchiveTooLarge(
                f"The archive would unpack to more than {ratio:g} times its size, as images do not. Pack the image"
                " files without compressing them (zip -0, or a plain tar).",
                limit=f"{ratio:g} times",
            )


def shown(name: str) -> str:
    """Returns a member's name for a message: quoted, without control characters, not endless."""
    return ascii(name[:80])


def refused_kind(name: str, kind: str, remedy: str = "") -> ArchiveRefused:
    """Returns the error for an entry that is neither a file nor a folder.

    Args:
        name: Of the entry.
        kind: What it is, with an article.
        remedy: A command that packs files in its place, where there is one.
    """
    way = f" ({remedy})" if remedy else ""
    return ArchiveRefused(f"The archive holds {kind}, {shown(name)}. Pack files and folders only{way}.")


def _checked_path(name: str) -> str:
    parts = _SEPARATOR.split(name)
    if not parts[0] or _DRIVE.match(name):
        raise ArchiveRefused(f"The archive holds the absolute path {shown(name)}. Pack it with relative paths.")
    if ".." in parts:
        raise ArchiveRefused(f"The archive holds the path {shown(name)}, which leads out of it. Pack it without '..'.")
    if _CONTROL.search(name) or len(name.encode("utf-8", "surrogateescape")) > _MOST_NAME_BYTES:
        raise ArchiveRefused(
            f"The archive holds a name with control characters, or of more than {_MOST_NAME_BYTES} bytes:"
            f" {shown(name)}. Rename the file.",
            limit=f"{_MOST_NAME_BYTES} bytes",
        )
    # Packers on Windows separate the parts by backslashes, though no format of archives says so.
    # Tar keeps names that are not UTF-8; a row of results must be.
    return printable(posixpath.normpath("/".join(parts)))


def _is_leftover(path: str) -> bool:
    """Tells whether an operating system put a file there by itself."""
    parts = PurePosixPath(path)
    return parts.name.lower() in _LEFTOVERS or _LEFTOVER_FOLDER in parts.parts[:1]
