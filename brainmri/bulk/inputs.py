"""What the caller names, as a list of images: files, folders, globs, archives, manifests, on disk or behind a URL."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from brainmri.blocking import Stop
from brainmri.bulk.archives.archive import ArchiveLimits, is_archive_name, open_archive
from brainmri.bulk.items import Item, is_image_name, item_id
from brainmri.bulk.place import Place
from brainmri.bulk.tables import is_table_name, table_entries
from brainmri.errors import ScoringRefused
from brainmri.text import printable

_GLOB = frozenset("*?[")


class Inputs:
    """The images that the caller's inputs name, in a fixed order: input by input, names sorted within each.

    Args:
        inputs: Paths, globs and URLs.
        limits: What archives to refuse.
        stop: Ends the listing; nothing does if None.

    Attributes:
        left_out: Files of folders and archives that are no images by their name, counted while iterating.
    """

    def __init__(self, inputs: Iterable[str], limits: ArchiveLimits, stop: Stop | None = None) -> None:
        self._inputs = tuple(inputs)
        self._limits = limits
        self._stop = stop or Stop()
        self.left_out = 0

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
            yield from _entries(place)
        else:
            yield _item(place)

    def _walk(self, folder: Place) -> Iterator[Item]:
        for path, is_folder in _children(folder):
            self._stop.check()
            child = folder.below(path)
            if is_folder:
                yield from self._walk(child)
            elif self._is_image(path):
                yield _item(child)

    def _members(self, place: Place) -> Iterator[Item]:
        with place.system.open(place.path, "rb") as file, open_archive(file, self._limits, self._stop) as archive:
            for member in sorted(archive.members, key=lambda member: member.entry):
                if self._is_image(member.name):
                    path = _text(f"{place.shown}/{member.name}")
                    yield Item(item_id(path), path, place.location, member.name)

    def _is_image(self, name: str) -> bool:
        known = is_image_name(name)
        self.left_out += not known
        return known


def _absent(place: Place) -> ScoringRefused:
    return ScoringRefused(f"{place.shown} does not exist. Name a file, a folder, a pattern or a URL.")


def _children(folder: Place) -> list[tuple[str, bool]]:
    """Returns path and whether it is a folder, sorted. Links to folders are left out: they may be loops."""
    if folder.is_local:
        # fsspec makes a record of a kilobyte for each file.
        with os.scandir(folder.path) as entries:
            found = [(entry.path, entry.is_dir()) for entry in entries if not (entry.is_symlink() and entry.is_dir())]
    else:
        listed = folder.system.ls(folder.path, detail=True)
        found = [(entry["name"].rstrip("/"), entry["type"] == "directory") for entry in listed]
        # Object stores list an empty object for the folder itself.
        found = [(path, is_folder) for path, is_folder in found if path != folder.path.rstrip("/")]
    return sorted(found)


def _entries(place: Place) -> Iterator[Item]:
    folder = place.location.rpartition("/")[0]
    with place.system.open(place.path, "rb") as file:
        for entry in table_entries(file, place.shown):
            location = entry.path
            if "://" not in location and not Path(location).is_absolute():
                location = f"{folder}/{location}"
            yield Item(entry.id or item_id(entry.path), entry.path, location)


def _item(place: Place) -> Item:
    path = _text(place.shown)
    return Item(item_id(path), path, place.location)


def _matches(pattern: Place) -> list[Place]:
    """Returns what a pattern finds; what exists under its very name is no pattern."""
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


def _text(path: str) -> str:
    """Returns a path as text that can be written: a file name on Linux need not be UTF-8."""
    return printable(path)
