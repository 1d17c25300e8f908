"""Slices of NIfTI volumes, one volume in memory at a time: those of a volume follow each other."""

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from brainmri.bulk.loaded import Loaded
from brainmri.errors import BrainMRIError
from brainmri.imaging import DecodeLimits
from brainmri.imaging.nifti import Volume


@dataclass(frozen=True)
class _Held:
    """The last volume, or why it cannot be read: each of its slices would ask again."""

    path: Path
    sha256: str
    volume: Volume | BrainMRIError


class Volumes:
    """Reads slices; safe for threads, which read one after the other. A volume is let go after its last slice.

    Args:
        limits: Which slices to refuse.
    """

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._counting = threading.Lock()
        self._expected: Counter[Path] = Counter()
        self._newest: Path | None = None

    def expect(self, path: Path) -> None:
        """Announces one reading of a file, in order; of a file that is no volume, too."""
        with self._counting:
            self._expected[path] += 1
            self._newest = path
            self._let_go()

    def done(self, path: Path) -> None:
        """Ends a reading that was announced, whatever came of it."""
        with self._counting:
            self._expected[path] -= 1
            if self._expected[path] <= 0:
                del self._expected[path]
            self._let_go()

    def close(self) -> None:
        """Lets the last volume go."""
        self._held = None

    def _let_go(self) -> None:
        """Frees a volume of which no slice is under way, once another file has followed."""
        held = self._held
        if held is not None and held.path != self._newest and held.path not in self._expected:
            self._held = None

    def load(self, path: Path, number: int | None) -> Loaded:
        """Returns an axial slice; arguments and errors as in `brainmri.imaging.nifti.Volume`.

        Args:
            path: Of the volume.
            number: Of the slice; None takes the middle one.
        """
        with self._lock:
            held = self._held
            if held is None or held.path != path:
                # Both given back before the next one is read.
                held = self._held = None
                held = self._held = _held(path)
            volume = held.volume
            if isinstance(volume, BrainMRIError):
                raise volume
            chosen = volume.depth // 2 if number is None else number
            return Loaded(volume.picture(chosen, self._limits), held.sha256)


def _held(path: Path) -> _Held:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        return _Held(path, sha256, Volume(path))
    except BrainMRIError as error:
        return _Held(path, sha256, error)
