"""MR slices with a patient and a study, as a scanner would send them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.imaging.dicom_samples import dataset, file

ENHANCED = "1.2.840.10008.5.1.4.1.1.4.1"
"""SOP class of MR objects of several frames."""

STUDY, SERIES, INSTANCE = "1.2.826.0.1.3680043.10.1", "1.2.826.0.1.3680043.10.1.2", "1.2.826.0.1.3680043.10.1.2.3"

PATIENT = {
    "PatientName": "Marked^Name",
    "PatientID": "MARKEDID",
    "PatientBirthDate": "19310203",
    "PatientSex": "F",
    "AccessionNumber": "MARKEDACC",
    "StudyDescription": "Marked study",
    "ReferringPhysicianName": "Marked^Referrer",
}

MARKS = [value for value in PATIENT.values() if len(value) > 1]
"""Values that are found nowhere else."""


def half_bright() -> NDArray[np.uint16]:
    """Returns `[64, 64]` of 12 bits whose left half is white and whose right half is black."""
    pixels = np.zeros((64, 64), np.uint16)
    pixels[:, :32] = 4095
    return pixels


def slice_of_study(number: int = 1, *, meta: bool = True, **elements: Any) -> bytes:
    """Returns one MR slice as a file.

    Args:
        number: Tells the instances of the series apart.
        meta: Whether the file has meta information.
        elements: What is changed; None takes an element away.
    """
    parts: dict[str, Any] = {
        **PATIENT,
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
        "SOPInstanceUID": f"{INSTANCE}.{number}",
        "InstanceNumber": number,
        "StudyDate": "20260102",
        "StudyTime": "030405",
        "StudyID": "S1",
        "SeriesNumber": 4,
        "Manufacturer": "Scanner",
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [0, 0, number],
        "PixelSpacing": [1, 1],
        "WindowCenter": 2048,
        "WindowWidth": 4096,
    }
    chosen = {name: value for name, value in {**parts, **elements}.items() if value is not None}
    ds = dataset(chosen.pop("pixels", half_bright()))
    for name in elements.keys() - chosen.keys() - {"pixels"}:
        ds.pop(name, None)
    for name, value in chosen.items():
        setattr(ds, name, value)
    return file(ds, meta=meta)
