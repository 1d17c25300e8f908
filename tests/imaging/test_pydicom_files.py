"""Every file of pydicom's own data: an answer or a refusal, and the pixels that pydicom gives where it can."""

import importlib.metadata
import json
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.utils import pixel_array

from brainmri.errors import InvalidInput
from brainmri.imaging import DecodeLimits, ReadOptions, read_picture
from brainmri.imaging.dicom import dicom_header
from brainmri.imaging.dicom_frames import stored_values
from brainmri.imaging.dicom_header import is_dicom, read_header

LIMITS = DecodeLimits(max_bytes=2**28, min_side=1, max_aspect=1e9, max_pixels=100_000_000)
_LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91")


def files() -> list[Path]:
    """Returns the DICOM files of the packages pydicom and pydicom-data, those of DICOMDIRs included."""
    found = set()
    for package in ("pydicom", "pydicom-data"):
        for file in importlib.metadata.files(package) or ():
            path = Path(str(file.locate()))
            if "data" in path.parts and path.suffix != ".py" and path.is_file() and is_dicom(path.read_bytes()):
                found.add(path)
    return sorted(found)


def outcome(data: bytes, *, force: bool, limits: DecodeLimits) -> str:
    try:
        read_picture(data, limits, ReadOptions(force=force))
    except InvalidInput as error:
        return error.code
    return "answered"


def test_every_file_is_answered_or_refused() -> None:
    as_served, forced = Counter[str](), Counter[str]()
    for path in files():
        data = path.read_bytes()
        as_served[outcome(data, force=False, limits=DecodeLimits())] += 1
        forced[outcome(data, force=True, limits=LIMITS)] += 1
    print(json.dumps({"as served": as_served, "forced": forced}))  # noqa: T201 -- docs/dicom.md
    assert as_served.total() > 200
    assert set(as_served) <= {
        "answered",
        "not_brain_mr",
        "image_unreadable",
        "image_too_large",
        "image_extreme_aspect",
    }
    assert as_served["answered"] >= 30
    assert forced["answered"] >= 150


def test_stored_values_are_those_of_pydicom() -> None:
    compared, different = Counter[str](), {}
    for path in files():
        theirs = _theirs(path)
        ours = _ours(path) if theirs is not None else None
        if theirs is None or ours is None:
            continue
        syntax = str(read_header(path.read_bytes(), LIMITS).file_meta.TransferSyntaxUID)
        compared[syntax] += 1
        tolerance = 3 if syntax in _LOSSY else 0
        if ours.shape != theirs.shape or np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max() > tolerance:
            different[path.name] = (syntax, ours.shape, theirs.shape)
    print(json.dumps(compared))  # noqa: T201 -- docs/dicom.md
    assert different == {}
    assert compared.total() >= 60


def _theirs(path: Path) -> NDArray[np.generic] | None:
    try:
        with warnings.catch_warnings(action="ignore"):
            return np.asarray(pixel_array(path, index=0, raw=False))
    except Exception:  # noqa: BLE001 -- pydicom raises many types for what it cannot decode
        return None


def _ours(path: Path) -> NDArray[np.generic] | None:
    try:
        dataset = read_header(path.read_bytes(), LIMITS)
        return stored_values(dataset, dicom_header(dataset, LIMITS), 0)
    except Exception:  # noqa: BLE001 -- counted by the other test
        return None
