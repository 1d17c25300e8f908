"""Slices of NIfTI volumes, one volume in memory at a time: those of a volume follow each other."""

import hashlib
import threading
from pathlib import Path

from brainmri.bulk.loaded import Loaded
from brainmri.imaging import DecodeLimits
from brainmri.imaging.nifti import Volume


class Volumes:
    """Reads slices; safe for threads, which read one after the other.

    Args:
        limits: Which slices to refuse.
    """

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._volume: Volume | None = None
        self._sha256 = ""

    def load(self, path: Path, number: int | None) -> Loaded:
        """Returns an axial slice; arguments and errors as in `brainmri.imaging.nifti.Volume`.

        Args:
            path: Of the volume.
            number: Of the slice; None takes the middle one.
        """
        with self._lock:
            if self._volume is None or self._path != path:
                # Given back before the next one is read.
                self._volume = None
                with path.open("rb") as file:
                    self._sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                self._volume, self._path = Volume(path), path
            chosen = self._volume.depth // 2 if number is None else number
            return Loaded(self._volume.picture(chosen, self._limits), self._sha256)
