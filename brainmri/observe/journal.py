"""Private files of JSON lines that only grow at their end: bounded in bytes, shared by the workers of a server."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from brainmri.errors import StorageFull

_SUFFIX = ".jsonl"

WhenFull = Literal["refuse", "drop_oldest"]
"""What a journal does once it holds as many bytes as it may: it takes no more lines, or drops its oldest file."""


class Journal:
    """A folder of numbered files of JSON lines, the newest last; a file that is full is followed by another.

    Each line is one write under a lock on the folder, so lines of several processes never mix. Folder and files belong
    to their owner alone (modes 0700 and 0600).

    Args:
        folder: Holds the files; it is made if it is missing.
        max_bytes: Most bytes of all files together.
        when_full: What happens to a line that would exceed them.
        files: How many files these bytes are divided among.
    """

    def __init__(self, folder: Path, max_bytes: int, when_full: WhenFull, files: int = 8) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._when_full = when_full
        self._file_bytes = max(max_bytes // files, 1)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Writes one line and syncs it.

        Raises:
            StorageFull: The journal holds as many bytes as it may and drops nothing, or one line exceeds them.
            OSError: The folder cannot be written.
        """
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            paths = journal_files(self._folder)
            self._make_room(paths, len(line))
            descriptor = os.open(self._current(paths, len(line)), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                self._write(descriptor, line)
            finally:
                os.close(descriptor)

    @staticmethod
    def _write(descriptor: int, line: bytes) -> None:
        size = os.fstat(descriptor).st_size
        try:
            if os.write(descriptor, line) < len(line):
                raise StorageFull("The server has no room for another line of its journal. Try again later.")
            os.fsync(descriptor)
        except BaseException:
            # Half a line would make the next one unreadable.
            os.ftruncate(descriptor, size)
            raise

    def _current(self, paths: list[Path], length: int) -> Path:
        if paths and paths[-1].stat().st_size + length <= self._file_bytes:
            return paths[-1]
        number = int(paths[-1].stem) + 1 if paths else 1
        return self._folder / f"{number:08d}{_SUFFIX}"

    def _make_room(self, paths: list[Path], length: int) -> None:
        held = sum(path.stat().st_size for path in paths)
        while held + length > self._max_bytes:
            if self._when_full == "refuse" or not paths:
                raise StorageFull(
                    "The server keeps as many bytes of this kind as it may. Ask whoever runs it to collect them.",
                    limit=f"{self._max_bytes} bytes",
                )
            oldest = paths.pop(0)
            held -= oldest.stat().st_size
            oldest.unlink()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def journal_files(folder: Path) -> list[Path]:
    """Returns the files of a journal, the oldest first."""
    return sorted(path for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())


def read_journal(folder: Path) -> Iterator[dict[str, Any]]:
    """Yields the entries of a journal, the oldest first; a line that is no JSON object is left out.

    Raises:
        OSError: A file cannot be read.
    """
    for path in journal_files(folder):
        with path.open("rb") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict):
                    yield entry
