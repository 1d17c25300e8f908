"""The DICOM object that an answer is about: its patient, study and frame, to which the results refer."""

import importlib.util
import uuid
from dataclasses import dataclass
from typing import Any

from brainmri.errors import DicomUnavailable, ImageUnreadable, InvalidInput, NoStudy
from brainmri.imaging import DEFAULT_OPTIONS, DecodeLimits, Picture, ReadOptions
from brainmri.imaging.dicom_header import is_dicom, read_elements
from brainmri.imaging.hostile import MAX_DICOM_READS, CountedReads

_NAMESPACE = uuid.UUID("7b1e8a52-1c0b-4c55-9d9a-6a1d6a0f3f0e")
"""Of the UIDs that this project derives."""

_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_IMAGE = ("Rows", "Columns", "NumberOfFrames", "InstanceNumber", "ImageOrientationPatient", "PatientOrientation")
_PATIENT = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge")
_STUDY = ("StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName")
_WANTED = (*_IDENTITY, *_IMAGE, *_PATIENT, *_STUDY, "SpecificCharacterSet")

_MAY_BE_EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", *_STUDY[:3], *_STUDY[4:])
"""Elements that every object has, be they empty."""

_SEXES = ("M", "F", "O", "")


@dataclass(frozen=True)
class Source:
    """One frame of an object.

    Attributes:
        dataset: A pydicom `Dataset` of the elements that results copy or refer to, and no others.
        frame: Its number, from 1; None where the object has one frame.
    """

    dataset: Any
    frame: int | None

    def uid(self, *parts: str) -> str:
        """Returns the UID that follows from this frame and `parts`: the same results have the same UIDs."""
        return derived_uid(str(self.dataset.SOPInstanceUID), str(self.frame or 1), *parts)

    def series_uid(self, *parts: str) -> str:
        """Returns the UID of a series that follows from the source's series and `parts`."""
        return derived_uid(str(self.dataset.SeriesInstanceUID), *parts)


def derived_uid(*parts: str) -> str:
    """Returns a UID made from a UUID (PS3.5, annex B.2) that follows from `parts` alone."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(0).join(parts)).int}"


def require_writer() -> None:
    """Raises what writing would raise, before anything is read.

    Raises:
        DicomUnavailable: The extra `dicom` is not installed.
    """
    if importlib.util.find_spec("highdicom") is None or importlib.util.find_spec("pynetdicom") is None:
        raise DicomUnavailable(
            "DICOM results need the extra `dicom`, which is not installed: uv sync --extra dicom, or"
            " pip install 'brainmri[dicom]'."
        )


def read_source(data: bytes | Picture, limits: DecodeLimits, options: ReadOptions = DEFAULT_OPTIONS) -> Source:
    """Reads what results need of the object that they are about.

    Args:
        data: A whole image file, or a slice of a volume, which belongs to no study.
        limits: What to refuse.
        options: Which frame the answer is about.

    Raises:
        NoStudy: No DICOM object, or one without the UIDs of its study, series and instance.
        ImageUnreadable: Damaged.
    """
    if isinstance(data, bytes):
        limits.check_bytes(data)
    if isinstance(data, Picture) or not is_dicom(data):
        raise NoStudy(
            "The image is not a DICOM object, so there is no study to write a report into. Send the DICOM object that"
            " it was made from, or ask for JSON or a PNG."
        )
    try:
        # Of a deflated object its beginning: whole, it would take memory that nothing counts.
        return _source(read_elements(CountedReads(data, MAX_DICOM_READS), _WANTED), options.frame)
    except (InvalidInput, MemoryError):
        raise
    except Exception:  # noqa: BLE001 -- pydicom documents no list of what it raises, and quotes the elements
        raise ImageUnreadable(
            "The DICOM object's patient or study cannot be read. Send the whole, intact file."
        ) from None


def _source(dataset: Any, frame: int | None) -> Source:
    missing = [name for name in _IDENTITY if not dataset.get(name)]
    if missing:
        raise NoStudy(
            f"The DICOM object has no {' and no '.join(missing)}, so no report can refer to it. Send the object as its"
            " scanner or archive has it.",
            limit=", ".join(_IDENTITY),
        )
    for name in _MAY_BE_EMPTY:
        if name not in dataset:
            setattr(dataset, name, "")
    if dataset.PatientSex not in _SEXES:
        dataset.PatientSex = ""
    frames = int(dataset.get("NumberOfFrames") or 1)
    return Source(dataset, None if frames == 1 else 1 + (frames // 2 if frame is None else frame))
