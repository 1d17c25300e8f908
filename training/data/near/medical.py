"""Scans of other things than a brain in MRI, from the DICOM files that pydicom and pydicom-data carry (MIT licence).

All are real: CT of head, spine and abdomen, MRI of shoulder and abdomen, radiographs, ultrasound, a bone scan, and
the test patterns of displays. MRI of a head, whole or in part, is left out.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.pixels.processing import apply_color_lut, apply_rescale
from pydicom.pixels.utils import pixel_array

from brainmri.errors import DatasetError
from training.data.near.image import REAL, NearImage

Pixels = NDArray[np.uint8]
_CT_WINDOWS = {"brain": (40, 80), "soft": (50, 400), "bone": (500, 2000)}
"""Centre and width in Hounsfield units."""


@dataclass(frozen=True)
class _Scan:
    file: str
    kind: str
    frames: tuple[int, ...] = (0,)


_SCANS = (
    _Scan("693_UNCR.dcm", "ct"),
    _Scan("J2K_pixelrep_mismatch.dcm", "ct"),
    _Scan("CT_small.dcm", "ct"),
    _Scan("explicit_VR-UN.dcm", "ct"),
    _Scan("eCT_Supplemental.dcm", "ct_map", (0, 1)),
    _Scan("MR2_UNCR.dcm", "other_mri"),
    _Scan("MR-SIEMENS-DICOM-WithOverlays.dcm", "other_mri"),
    _Scan("examples_overlay.dcm", "other_mri"),
    _Scan("RG1_UNCR.dcm", "xray"),
    _Scan("RG3_UNCR.dcm", "xray"),
    _Scan("US1_UNCR.dcm", "ultrasound"),
    _Scan("OBXXXX1A.dcm", "ultrasound"),
    _Scan("gdcm-US-ALOKA-16.dcm", "ultrasound"),
    _Scan("color-pl.dcm", "ultrasound"),
    _Scan("color3d_jpeg_baseline.dcm", "ultrasound", (0, 40, 80)),
    _Scan("examples_ybr_color.dcm", "ultrasound", (0, 15)),
    _Scan("JPEG2000_UNC.dcm", "bone_scan"),
    _Scan("image_dfl.dcm", "test_pattern"),
    _Scan("vlut_04.dcm", "test_pattern"),
)


def medical_images() -> Iterator[NearImage]:
    """Yields every scan, whole and cropped to its middle; CT in three windows, radiographs in both polarities.

    Raises:
        DatasetError: A package does not carry a file that it should.
    """
    for scan in _SCANS:
        for view, whole in _views(scan):
            for crop, pixels in (("whole", whole), ("middle", _middle(whole))):
                yield NearImage(f"{scan.kind}/{scan.file}/{view}/{crop}", scan.kind, REAL, pixels)


def _views(scan: _Scan) -> Iterator[tuple[str, Pixels]]:
    for frame in scan.frames:
        dataset, pixels = _read(scan.file, frame)
        if scan.kind == "ct":
            units = apply_rescale(pixels, dataset)
            for name, (centre, width) in _CT_WINDOWS.items():
                yield name, _scale(units, centre - width / 2, centre + width / 2)
        elif scan.kind == "xray":
            shown = _display(dataset, pixels)
            yield "positive", shown
            yield "negative", 255 - shown
        else:
            yield str(frame), _display(dataset, pixels)


def _read(name: str, frame: int) -> tuple[pydicom.Dataset, NDArray[Any]]:
    path = get_testdata_file(name, download=False)
    if path is None:
        raise DatasetError(f"pydicom-data does not carry {name}. Install the versions of uv.lock: make setup.")
    with warnings.catch_warnings():
        # Some of the files are odd on purpose: pydicom tests itself with them.
        warnings.simplefilter("ignore", UserWarning)
        # Without its `index` all 120 frames of the longest one would be decoded. YBR becomes RGB.
        dataset = pydicom.dcmread(str(path))
        return dataset, pixel_array(dataset, index=frame)


def _display(dataset: pydicom.Dataset, pixels: NDArray[Any]) -> Pixels:
    photometric = dataset.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        return np.asarray(apply_color_lut(pixels, dataset) >> 8, dtype=np.uint8)
    if pixels.ndim == 3:
        return np.asarray(pixels, dtype=np.uint8)
    low, high = np.percentile(pixels, [1, 99], method="nearest")
    shown = _scale(pixels, float(low), float(high))
    return 255 - shown if photometric == "MONOCHROME1" else shown


def _scale(values: NDArray[Any], low: float, high: float) -> Pixels:
    share = (values.astype(np.float64) - low) / max(high - low, 1.0)
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)


def _middle(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    return np.ascontiguousarray(pixels[height // 5 : height - height // 5, width // 5 : width - width // 5])
