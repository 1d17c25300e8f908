"""Which frames and series a file holds: for lists of files that nobody decodes yet."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from brainmri.errors import ImageUnreadable, MalformedRequest
from brainmri.imaging.dicom_header import (
    inflation,
    is_dicom,
    quiet_pydicom,
    read_beginning,
    read_directory,
    read_elements,
)
from brainmri.imaging.nifti import slice_numbers
from brainmri.imaging.picture import MAX_FRAME
from brainmri.imaging.signatures import DICOM, HEAD_BYTES, format_of

_ID_CHARACTERS = 20
_LEAST_FRAME_BYTES = 32
"""16 x 16 pixels of one bit; no codestream is smaller."""

_NOT_TOLD = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_MOST_CHARACTERS = 1024
_DAMAGED = "The DICOM object is damaged before its pixels. Send the whole, intact file."


@dataclass(frozen=True)
class FrameOf:
    """One frame that a file holds.

    Attributes:
        frame: What `ReadOptions.frame` takes; None for the only one of a file.
        instance: A digest of a DICOM object's SOPInstanceUID, which tells objects apart and names none; or None.
        series: A digest of its SeriesInstanceUID, equal for all objects of a series; or None.
    """

    frame: int | None = None
    instance: str | None = None
    series: str | None = None


def frames_of(file: BinaryIO, size: int | None = None) -> list[FrameOf]:
    """Returns every frame of a DICOM object, and the first page alone of any other file; no pixel is read.

    An object that is too small for the frames that it declares counts as one.

    Args:
        file: Of a format that `format_of` names, at its beginning; it may be moved.
        size: Bytes of the whole file, where `file` is its beginning alone.

    Raises:
        ImageUnreadable: A DICOM object whose beginning is damaged.
    """
    head = file.read(HEAD_BYTES)
    if format_of(head) != DICOM:
        return [FrameOf()]
    whole = file.seek(0, io.SEEK_END) if size is None else size
    try:
        file.seek(0)
        most = whole * inflation(file) // _LEAST_FRAME_BYTES
        file.seek(0)
        dataset = read_beginning(file)
        count = int(dataset.get("NumberOfFrames") or 1)
    except ImageUnreadable:
        raise
    except Exception:  # noqa: BLE001 -- pydicom documents no list of what it raises, and quotes elements
        raise ImageUnreadable(_DAMAGED) from None
    instance, series = digest(dataset.get("SOPInstanceUID")), digest(dataset.get("SeriesInstanceUID"))
    if not 1 < count <= min(MAX_FRAME, most):
        return [FrameOf(None, instance, series)]
    return [FrameOf(frame, instance, series) for frame in range(count)]


def frames_of_volume(path: Path, step_mm: float) -> list[FrameOf]:
    """Returns the axial slices that are taken of a NIfTI volume, of one series; no voxel is read.

    Raises:
        ImageTooLarge, ImageUnreadable: See `brainmri.imaging.nifti.Volume`.
    """
    # Told apart by what it is called: a volume has no identifier of its own.
    series = digest(path.absolute())
    return [FrameOf(number, None, series) for number in slice_numbers(path, step_mm)]


def files_of_directory(data: bytes) -> list[str] | None:
    """Returns what a DICOMDIR lists, as paths with slashes, relative to its folder; None for any other file.

    Args:
        data: The whole file.

    Raises:
        ImageUnreadable: It is damaged, or names a file outside of its folder.
    """
    if not is_dicom(data):
        return None
    try:
        records = read_directory(io.BytesIO(data))
        names = None if records is None else [_path(record.get("ReferencedFileID")) for record in records]
    except ImageUnreadable:
        raise
    except Exception:  # noqa: BLE001 -- as above
        raise ImageUnreadable("The DICOMDIR is damaged. Name the folder of its files in its place.") from None
    return None if names is None else [name for name in names if name]


def require_keywords(keywords: Sequence[str]) -> None:
    """Checks what a user asks to be told of DICOM objects.

    Raises:
        MalformedRequest: One is not a keyword of an element that holds text or numbers.
    """
    dictionary = quiet_pydicom().datadict
    for keyword in keywords:
        tag = dictionary.tag_for_keyword(keyword)
        if tag is None or _NOT_TOLD.intersection(dictionary.dictionary_VR(tag).split(" or ")):
            raise MalformedRequest(
                f"{keyword[:64]!r} is not a keyword of a DICOM element of text or numbers. Name such as StudyDate."
            )


def elements_of(data: bytes, keywords: Sequence[str]) -> dict[str, str]:
    """Returns the elements of a DICOM object that a user asked for, as text; absent ones are left out.

    Args:
        data: The whole file; one that is not a DICOM object has none.
        keywords: As `require_keywords` allows them.

    Raises:
        ImageUnreadable: Its beginning is damaged.
    """
    if not keywords or not is_dicom(data):
        return {}
    try:
        dataset = read_elements(io.BytesIO(data), keywords)
        return {name: str(dataset[name].value)[:_MOST_CHARACTERS] for name in keywords if name in dataset}
    except Exception:  # noqa: BLE001 -- as above
        raise ImageUnreadable(_DAMAGED) from None


def _path(parts: Any) -> str:
    if not parts:
        return ""
    path = PurePosixPath(*([parts] if isinstance(parts, str) else parts))
    if path.is_absolute() or ".." in path.parts:
        raise ImageUnreadable("The DICOMDIR names a file outside of its folder. Name the folder of its files.")
    return str(path)


def digest(identifier: object) -> str | None:
    """Returns what stands for an identifier in answers: it tells things apart and names none; None without one."""
    if not identifier:
        return None
    # A file name on Linux need not be UTF-8.
    return hashlib.sha256(str(identifier).encode("utf-8", "surrogateescape")).hexdigest()[:_ID_CHARACTERS]
