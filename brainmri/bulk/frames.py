"""Which slices of a file are scored: every frame of a DICOM object, axial slices of a NIfTI volume, else one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from brainmri.bulk.chosen import may_hold_frames
from brainmri.bulk.items import Item
from brainmri.errors import BrainMRIError
from brainmri.imaging import HEAD_BYTES, FrameOf, format_of, frames_of
from brainmri.imaging.contents import frames_of_volume
from brainmri.imaging.nifti import STEP_MM
from brainmri.imaging.signatures import DICOM, NIFTI

BEGINNING_BYTES = 2**18
"""Of a DICOM object in an archive: its identifiers and its number of frames come long before this."""


@dataclass(frozen=True)
class Taken:
    """What is taken of a file.

    Attributes:
        frame: This frame, page or slice alone; None takes every one of a DICOM object, and a volume's at `step_mm`.
        step_mm: Distance of the axial slices that are taken of a NIfTI volume, in millimetres.
        volumes: Whether NIfTI volumes are read; a volume takes more memory than a server has for one request.
    """

    frame: int | None = None
    step_mm: float = STEP_MM
    volumes: bool = True

    def items(self, item: Item, open_file: Callable[[], BinaryIO], size: int | None = None) -> Iterator[Item]:
        """Yields the slices of one file. A file that cannot be read is one item: its row says why.

        Args:
            item: The file.
            open_file: Opens it at its beginning; called only where its name does not tell that it is one picture.
            size: Of the whole file in bytes, where `open_file` opens less.
        """
        try:
            frames = self._frames(item, open_file, size)
        except (BrainMRIError, OSError):
            frames = [FrameOf(self.frame)]
        yield from map(item.of, frames)

    def _frames(self, item: Item, open_file: Callable[[], BinaryIO], size: int | None) -> list[FrameOf]:
        if not may_hold_frames(item.member or item.location):
            return [FrameOf(self.frame)]
        with open_file() as file:
            kind = format_of(file.read(HEAD_BYTES))
            file.seek(0)
            if kind == DICOM:
                frames = frames_of(file, size)
            elif kind == NIFTI and self.volumes and item.is_local_file:
                frames = frames_of_volume(Path(item.location), self.step_mm)
            else:
                frames = [FrameOf()]
        return frames if self.frame is None else [replace(frames[0], frame=self.frame)]
