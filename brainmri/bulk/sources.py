"""Reads the bytes of images, again when a disk or network fails for a moment."""

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

from brainmri.blocking import Stop, Stopped
from brainmri.bulk.archives.archive import Archive, ArchiveLimits, Member, open_archive
from brainmri.bulk.chosen import may_hold_frames
from brainmri.bulk.items import Item
from brainmri.bulk.loaded import LastRead, Loaded, loaded
from brainmri.bulk.place import open_location
from brainmri.bulk.volumes import Volumes
from brainmri.errors import BrainMRIError, ImageTooLarge, ImageUnreadable, SourceUnreadable
from brainmri.imaging import HEAD_BYTES, DecodeLimits
from brainmri.imaging.nifti import is_nifti

_FOR_GOOD = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Trying again does not help."""

_DECODE = DecodeLimits()

T = TypeVar("T")


class Retry:
    """How often and how soon to try again.

    Args:
        tries: In all, at least 1.
        first_wait_s: Before the second try, in seconds; each further wait is twice as long, and all of them vary by
            half, so that many readers do not come back at the same moment.
    """

    def __init__(self, tries: int = 4, first_wait_s: float = 0.25) -> None:
        self._tries = tries
        self._first_wait_s = first_wait_s

    def call(self, read: Callable[[], T], name: str) -> T:
        """Returns what `read` returns.

        Args:
            read: Tried again after whatever it raises, except an error of this project.
            name: Of what is read, for the message.

        Raises:
            SourceUnreadable: The last try failed, or one failed for good.
        """
        for attempt in range(1, self._tries + 1):
            try:
                return read()
            except (BrainMRIError, Stopped, MemoryError):
                raise
            except _FOR_GOOD as error:
                raise SourceUnreadable(f"{name} cannot be read: {error.strerror or error}.") from error
            except Exception as error:  # libraries of object stores raise types of their own
                if attempt == self._tries:
                    raise SourceUnreadable(
                        f"{name} cannot be read after {attempt} tries: {error or type(error).__name__}."
                    ) from error
                # Not for secrets.
                time.sleep(self._first_wait_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))  # noqa: S311
        raise AssertionError("A Retry has at least one try.")


class Sources:
    """Reads items; keeps one archive open, because those of an archive follow each other.

    Args:
        limits: What archives to refuse; `max_member_bytes` also limits files.
        retry: For what fails for a moment.
        stop: Ends the reading of an archive; nothing does if None.
        decode: Which slices of NIfTI volumes to refuse.
    """

    def __init__(
        self, limits: ArchiveLimits, retry: Retry, stop: Stop | None = None, decode: DecodeLimits = _DECODE
    ) -> None:
        self._limits = limits
        self._retry = retry
        self._stop = stop or Stop()
        self._last = LastRead()
        self._volumes = Volumes(decode)
        self._open = ExitStack()
        self._location = ""
        self._archive: Archive | None = None
        self._members: dict[str, Member] = {}

    def prepare(self, item: Item) -> Callable[[], Loaded]:
        """Returns what gives an item, to be called in any thread.

        A member of an archive is read at once, because a compressed tar is fast in its order only. Call it from one
        thread.
        """
        if item.member is None:
            self._volumes.expect(Path(item.location))
            return partial(self._load_file, item)
        try:
            data = self._retry.call(lambda: self._load(item), item.path)
        except BrainMRIError as error:
            return _raising(error)
        return lambda: data

    def _load_file(self, item: Item) -> Loaded:
        try:
            return self._retry.call(lambda: self._load(item), item.path)
        finally:
            self._volumes.done(Path(item.location))

    def _load(self, item: Item) -> Loaded:
        if item.member is not None:
            read = partial(self._read_member, item)
        elif self._is_volume(item):
            return self._volumes.load(Path(item.location), item.frame)
        else:
            read = partial(self._read_file, item)
        return loaded(read) if item.frame is None else self._last.get((item.location, item.member), read)

    def _is_volume(self, item: Item) -> bool:
        if not item.is_local_file or not may_hold_frames(item.location):
            return False
        with open_location(item.location) as file:
            return is_nifti(file.read(HEAD_BYTES))

    def close(self) -> None:
        """Closes the archive that is open, and gives the last volume back."""
        self._close_archive()
        self._volumes.close()

    def _close_archive(self) -> None:
        self._open.close()
        self._location, self._archive, self._members = "", None, {}

    def _read_file(self, item: Item) -> bytes:
        most = self._limits.max_member_bytes
        with open_location(item.location) as file:
            data = file.read(most + 1)
        if not item.is_local_file and is_nifti(data[:HEAD_BYTES]):
            raise ImageUnreadable(
                "This is a NIfTI volume, which is read from this machine alone. Copy it here, and name the copy."
            )
        if len(data) > most:
            raise ImageTooLarge(
                f"The file has more than {most} bytes, which an image may have. Raise BRAINMRI_MAX_IMAGE_BYTES, or"
                " leave it out.",
                limit=f"{most} bytes",
            )
        return data

    def _read_member(self, item: Item) -> bytes:
        if self._location != item.location or self._archive is None:
            self._close_archive()
            file = self._open.enter_context(open_location(item.location))
            self._archive = self._open.enter_context(open_archive(file, self._limits, self._stop))
            self._members = {member.name: member for member in self._archive.members}
            self._location = item.location
        member = self._members.get(item.member or "")
        if member is None:
            raise SourceUnreadable(f"{item.path} is no longer in the archive.")
        return self._archive.read(member)


def _raising(error: BrainMRIError) -> Callable[[], Loaded]:
    def load() -> Loaded:
        raise error

    return load
