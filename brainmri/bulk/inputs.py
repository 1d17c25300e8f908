"""What the caller names, as a list of images: files, folders, globs, archives, manifests, on disk or behind a URL."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from brainmri.blocking import Stop
from brainmri.bulk.archives.archive import ArchiveLimits, is_archive_name, open_archive
from brainmri.bulk.archives.members import Member
from brainmri.bulk.chosen import LINKED_FOLDER, SPECIAL_FILE, Choice, is_directory_name
from brainmri.bulk.frames import Taken
from brainmri.bulk.items import Item, item_id
from brainmri.bulk.place import Place, open_location
from brainmri.bulk.tables import is_table_name, table_entries
from brainmri.bulk.uploads import chosen_items
from brainmri.errors import ScoringRefused
from brainmri.imaging import HEAD_BYTES, files_of_directory
from brainmri.text import printable

_GLOB = frozenset("*?[")
_FOLDER, _FILE = "folder", "file"


class Listing(Protocol):
    """The images of a run; iterating lists them once, in a fixed order."""

    @property
    def left_out(self) -> Counter[str]:
        """Files that are not scored, by reason; counted while iterating. See `brainmri.bulk.chosen.REASONS`."""
        ...

    def __iter__(self) -> Iterator[Item]:
        """Yields every image."""
        ...


class Inputs:
    """The images that the caller's inputs name, in a fixed order: input by input, names sorted within each.

    Args:
        inputs: Paths, globs and URLs.
        limits: What archives to refuse.
        stop: Ends the listing; nothing does if None.
        taken: Which slices of each file are images of their own; None takes each file for one.

    A `Listing`.
    """

    def __init__(
        self, inputs: Iterable[str], limits: ArchiveLimits, stop: Stop | None = None, taken: Taken | None = None
    ) -> None:
        self._inputs = tuple(inputs)
        self._limits = limits
        self._stop = stop or Stop()
        self._taken = taken
        self._choice = Choice(volumes=taken is not None and taken.volumes)

    @property
    def left_out(self) -> Counter[str]:
        """See `Listing`."""
        return self._choice.left_out

    def require(self) -> None:
        """Looks for every input, and into none; quick, so that a misspelt name is told before a model is loaded.

        Raises:
            ScoringRefused: None is named, or one does not exist.
        """
        if not self._inputs:
            raise ScoringRefused("No input is named. Name image files, folders, archives, tables or URLs.")
        for place in self._places():
            if not place.system.exists(place.path):
                raise _absent(place)

    def __iter__(self) -> Iterator[Item]:
        """Yields every image.

        Raises:
            Stopped: Nobody waits for it.
            ScoringRefused: An input that does not exist, or a manifest that cannot be read.
            ArchiveRefused: An archive that holds what none may hold.
        """
        for place in self._places():
            self._stop.check()
            yield from self._expand(place)

    def _places(self) -> Iterator[Place]:
        for text in self._inputs:
            place = Place.of(text)
            yield from _matches(place) if _GLOB.intersection(text) else [place]

    def _expand(self, place: Place) -> Iterator[Item]:
        if place.system.isdir(place.path):
            yield from self._walk(place)
        elif not place.system.isfile(place.path):
            raise _absent(place)
        elif is_archive_name(place.path):
            yield from self._members(place)
        elif is_table_name(place.path):
            yield from self._entries(place)
        elif is_directory_name(place.path):
            yield from self._directory(place)
        else:
            yield from self._slices(_item(place))

    def _walk(self, folder: Place) -> Iterator[Item]:
        choice = self._choice if folder.is_local else self._without_volumes()
        for path, kind in _children(folder):
            self._stop.check()
            child = folder.below(path)
            if kind == _FOLDER:
                yield from self._walk(child)
            elif kind != _FILE:
                choice.leave_out(kind)
            elif choice.takes(path, partial(file_head, child)):
                yield from self._slices(_item(child))

    def _slices(self, item: Item) -> Iterator[Item]:
        if self._taken is None:
            yield item
        else:
            yield from self._taken.items(item, partial(open_location, item.location))

    def _directory(self, place: Place) -> Iterator[Item]:
        """Yields what a DICOMDIR lists; a file that is only called so is an image like others."""
        names = files_of_directory(_content(place, self._limits.max_member_bytes))
        if names is None:
            yield from self._slices(_item(place))
            return
        for name in names:
            yield from self._slices(_item(_beside(place, name)))

    def _entries(self, place: Place) -> Iterator[Item]:
        folder = place.location.rpartition("/")[0]
        with place.system.open(place.path, "rb") as file:
            for entry in table_entries(file, place.shown):
                location = entry.path
                if "://" not in location and not Path(location).is_absolute():
                    location = _below(place, folder, location)
                yield from self._slices(Item(entry.id or item_id(entry.path), entry.path, location))

    def _members(self, place: Place) -> Iterator[Item]:
        with place.system.open(place.path, "rb") as file, open_archive(file, self._limits, self._stop) as archive:

            def named(member: Member) -> Item:
                path = printable(f"{place.shown}/{member.name}")
                return Item(item_id(path), path, place.location, member.name)

            yield from chosen_items(archive, self._without_volumes(), named, self._taken)

    def _without_volumes(self) -> Choice:
        """Returns what chooses where a volume cannot be read: in archives and behind URLs."""
        return Choice(left_out=self._choice.left_out)


def _content(place: Place, most: int) -> bytes:
    with place.system.open(place.path, "rb") as file:
        content: bytes = file.read(most)
    return content


def _beside(place: Place, name: str) -> Place:
    """Returns a file that a DICOMDIR lists; some systems show the names of a CD in lower case."""
    found = [
        Place(place.system, f"{place.path.rpartition('/')[0]}/{one}", place.shown[: -len("DICOMDIR")] + one)
        for one in (name, name.lower())
    ]
    return next((one for one in found if one.system.exists(one.path)), found[0])


def file_head(place: Place) -> bytes:
    """Returns the first bytes of a file, enough to tell whether it is an image."""
    with place.system.open(place.path, "rb") as file:
        head: bytes = file.read(HEAD_BYTES)
    return head


def _absent(place: Place) -> ScoringRefused:
    return ScoringRefused(f"{place.shown} does not exist. Name a file, a folder, a pattern or a URL.")


def _children(folder: Place) -> list[tuple[str, str]]:
    """Returns path and kind of each, sorted: `_FOLDER`, `_FILE`, or why it is left out."""
    if folder.is_local:
        # fsspec makes a record of a kilobyte for each file.
        with os.scandir(folder.path) as entries:
            return sorted((entry.path, _kind(entry)) for entry in entries)
    listed = folder.system.ls(folder.path, detail=True)
    found = [(entry["name"].rstrip("/"), _FOLDER if entry["type"] == "directory" else _FILE) for entry in listed]
    # Object stores list an empty object for the folder itself.
    return sorted((path, kind) for path, kind in found if path != folder.path.rstrip("/"))


def _kind(entry: "os.DirEntry[str]") -> str:
    if entry.is_dir():
        # It may be a loop.
        return LINKED_FOLDER if entry.is_symlink() else _FOLDER
    # A link to nothing becomes a row that says so; a pipe would be waited for.
    is_file = entry.is_file() or not Path(entry.path).exists()
    return _FILE if is_file else SPECIAL_FILE


def _below(table: Place, folder: str, path: str) -> str:
    location = f"{folder}/{path}"
    if "\\" in path and table.is_local and not os.path.lexists(location):
        # Written on Windows.
        return f"{folder}/{path.replace(chr(92), '/')}"
    return location


def _item(place: Place) -> Item:
    # A file name on Linux need not be UTF-8.
    path = printable(place.shown)
    return Item(item_id(path), path, place.location)


def _matches(pattern: Place) -> list[Place]:
    """Returns what a pattern finds; what exists under its very name is not a pattern."""
    if pattern.system.exists(pattern.path):
        return [pattern]
    paths = sorted(pattern.system.glob(pattern.path))
    if not paths:
        raise ScoringRefused(f"Nothing matches {pattern.shown}. Look for a misspelt folder.")
    return [Place(pattern.system, path, _shown_match(pattern, path)) for path in paths]


def _shown_match(pattern: Place, path: str) -> str:
    if not pattern.is_local:
        return str(pattern.system.unstrip_protocol(path))
    # A relative pattern gives relative names.
    return path if Path(pattern.shown).is_absolute() or "://" in pattern.shown else os.path.relpath(path)
