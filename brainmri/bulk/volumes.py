"""Slices of NIfTI volumes, one volume in memory at a time: those of a volume follow each other."""

import hashlib
import threading
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
    """Reads slices; safe for threads, which read one after the other.

    Args:
        limits: Which slices to refuse.
    """

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._held: _Held | None = None

    def load(self, path: Path, number: int | None) -> Loaded:
        """Returns an axial slice; arguments and errors as in `brainmri.imaging.nifti.Volume`.

        Args:
            path: Of the volume.
            number: Of the slice; None takes the middle one.
        """
        with self._lock:
            if self._held is None or self._held.path != path:
                # Given back before the next one is read.
                self._held = None
                self._held = _held(path)
            volume = self._held.volume
            if isinstance(volume, BrainMRIError):
                raise volume
            chosen = volume.depth // 2 if number is None else number
            return Loaded(volume.picture(chosen, self._limits), self._held.sha256)


def _held(path: Path) -> _Held:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        return _Held(path, sha256, Volume(path))
    except BrainMRIError as error:
        return _Held(path, sha256, error)
