"""What the listener has promised to answer, on disk: nothing that was accepted is lost when the process is killed.

    received/ID.dcm         accepted, and to be scored
    results/ID/KIND.dcm     scored, and to be delivered; a folder appears as a whole
    refused/ID/KIND.dcm     what the destination refused for good; for a person to look at
    done/ID                 delivered; an object that is sent again is accepted and not answered again

An ID is a hash of an object's bytes and says nothing about a patient.
"""

import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from brainmri import durable
from brainmri.errors import InvalidSettings, Overloaded, StorageFull, StorageUnavailable

_MOST_DONE = 10_000
"""Marks of delivered objects that are kept; the oldest go first."""

_ASIDE = ".scored"


@dataclass(frozen=True)
class Delivery:
    """The results of one object.

    Attributes:
        identity: Of the object.
        files: What is left to deliver, in order.
    """

    identity: str
    files: tuple[Path, ...]


class Spool:
    """The folder and the two queues that lie in it; may be used from several threads.

    Args:
        folder: Is made if it does not exist; one process uses it at a time.
        most: Most objects in it that are not delivered; more are refused.

    Raises:
        InvalidSettings: Another process uses the folder, or it cannot be written.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._received, self._results = folder / "received", folder / "results"
        self._refused, self._done = folder / "refused", folder / "done"
        self._aside = folder / _ASIDE
        self._most = most
        self._adding = threading.Lock()
        self._changed = threading.Condition()
        try:
            for part in (self._received, self._results, self._refused, self._done):
                part.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / ".lock").open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise InvalidSettings(f"Another listener uses {folder}. Name another folder with --spool.") from error
        except OSError as error:
            raise InvalidSettings(f"{folder} cannot be used as a spool: {error.strerror}.") from error
        self._recover()

    def close(self) -> None:
        """Lets another process use the folder."""
        self._lock.close()

    def require_room(self, data: bytes, patience_s: float) -> None:
        """Waits for room for an object, unless it is there or has been delivered.

        Args:
            data: The object.
            patience_s: Longest wait, in seconds; it sets the pace of a sender that tries again at once.

        Raises:
            Overloaded: The spool is full still.
        """
        identity, end = _identity(data), time.monotonic() + patience_s
        while not self._knows(identity) and self.pending() >= self._most:
            left_s = end - time.monotonic()
            if left_s <= 0:
                raise self._full()
            self.wait(left_s)

    def add(self, data: bytes) -> str:
        """Stores an object durably, unless it is there or has been delivered.

        Returns:
            Its ID.

        Raises:
            Overloaded: The spool is full.
            StorageFull, StorageUnavailable: The disk is full, or cannot be written.
        """
        identity = _identity(data)
        with self._adding:
            if self._knows(identity):
                return identity
            if self.pending() >= self._most:
                raise self._full()
            try:
                durable.write_bytes(self._received / f"{identity}.dcm", data)
            except OSError as error:
                kind = StorageFull if durable.is_full(error) else StorageUnavailable
                raise kind("The spool cannot be written. Send the object again later.") from error
        self.wake()
        return identity

    def pending(self) -> int:
        """Returns how many objects are not delivered."""
        return sum(len(list(folder.iterdir())) for folder in (self._received, self._results, self._refused))

    def received(self) -> list[str]:
        """Returns the IDs of the objects that are to be scored, the oldest first."""
        return [path.stem for path in _oldest_first(self._received) if path.suffix == ".dcm"]

    def data(self, identity: str) -> bytes:
        """Returns an object that is to be scored."""
        return (self._received / f"{identity}.dcm").read_bytes()

    def scored(self, identity: str, files: Mapping[str, bytes]) -> None:
        """Stores the results of an object, all at once, in place of the object; without files it is done with.

        Args:
            identity: Of the object.
            files: Kind to content.
        """
        if files:
            shutil.rmtree(self._aside, ignore_errors=True)
            self._aside.mkdir()
            for kind, content in files.items():
                durable.write_bytes(self._aside / f"{kind}.dcm", content)
            self._aside.rename(self._results / identity)
            durable.sync_folder(self._results)
        else:
            self._mark_done(identity)
        (self._received / f"{identity}.dcm").unlink()
        durable.sync_folder(self._received)
        self.wake()

    def deliveries(self) -> list[Delivery]:
        """Returns what is to be delivered, the oldest first."""
        return [
            Delivery(folder.name, tuple(sorted(folder.glob("*.dcm"), reverse=True)))
            for folder in _oldest_first(self._results)
        ]

    def delivered(self, file: Path) -> None:
        """Forgets a file that has reached its destination; with the last one its object is done."""
        file.unlink()
        durable.sync_folder(file.parent)
        if not any(file.parent.iterdir()):
            self._mark_done(file.parent.name)
            file.parent.rmdir()
            self.wake()

    def refuse(self, identity: str) -> None:
        """Keeps what its destination refuses for good where nothing tries again."""
        (self._results / identity).rename(self._refused / identity)
        for folder in (self._refused, self._results):
            durable.sync_folder(folder)

    def wake(self) -> None:
        """Wakes whoever waits."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> None:
        """Waits until something has changed, or for `timeout_s` seconds."""
        with self._changed:
            self._changed.wait(timeout_s)

    def _full(self) -> Overloaded:
        return Overloaded(
            f"{self._most} objects wait, the most that are kept. Send it again later.",
            retry_after_s=5,
            limit=f"{self._most} objects",
        )

    def _knows(self, identity: str) -> bool:
        places = (self._received / f"{identity}.dcm", self._results / identity, self._done / identity)
        return any(place.exists() for place in places)

    def _mark_done(self, identity: str) -> None:
        durable.write_bytes(self._done / identity, b"")
        marks = _oldest_first(self._done)
        for mark in marks[: max(0, len(marks) - _MOST_DONE)]:
            mark.unlink(missing_ok=True)

    def _recover(self) -> None:
        """Brings a folder that a killed process left to a state that this module describes."""
        for folder in (self._received, self._done):
            durable.remove_leftovers(folder)
        shutil.rmtree(self._aside, ignore_errors=True)
        for folder in list(self._results.iterdir()):
            # Its results are whole; only the last step is missing.
            (self._received / f"{folder.name}.dcm").unlink(missing_ok=True)
            if not any(folder.iterdir()):
                self._mark_done(folder.name)
                folder.rmdir()


def _identity(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _oldest_first(folder: Path) -> list[Path]:
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                found.append((entry.stat().st_mtime_ns, Path(entry.path)))
    return [path for _, path in sorted(found)]
