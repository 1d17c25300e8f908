"""figshare's slices as its author publishes them: MATLAB files (HDF5) with image, label, patient and tumour mask.

J. Cheng, "brain tumor dataset", figshare 2017, CC BY 4.0: `ADDRESS`. Each file holds one slice as `cjdata`.
"""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainmri.errors import DatasetError
from training.data.tables import write_atomically

ADDRESS = "https://figshare.com/articles/dataset/brain_tumor_dataset/1512427"
TABLE = "figshare.csv"
COLUMNS = ("image_id", "label", "patient_id", "person_id", "box_cx", "box_cy", "box_w", "box_h")
_LABELS = {1: "meningioma", 2: "glioma", 3: "pituitary"}
_QUALITY = 95
_DIGITS = 4


@dataclass(frozen=True)
class MatSlice:
    """One slice of a `.mat` file.

    Attributes:
        pixels: Grey values from the darkest to the brightest, uint8 `[H, W]`.
        label: `meningioma`, `glioma` or `pituitary`.
        patient: Id of the patient, as published.
        box: Centre x, centre y, width and height around the mask, in shares of the sides; None for an empty mask.
    """

    pixels: NDArray[np.uint8]
    label: str
    patient: str
    box: tuple[float, float, float, float] | None

    @property
    def person(self) -> str:
        """Returns the patient's id without its final letter: ids that differ in it only are one person's."""
        return re.sub(r"[A-Za-z]$", "", self.patient)


def convert_figshare(local: Path, sources: Path) -> Path:
    """Writes the slices of the `.mat` files below `local` as grey JPEGs of quality 95, and returns the table of them.

    The images become `sources/figshare/<label>/<id>.jpg`. The table, `sources/figshare.csv`, is written last, so that
    an interrupted call leaves none.

    Raises:
        DatasetError: There is no such file, or one is damaged, has an unknown label, or stands there twice.
    """
    files = sorted(local.rglob("*.mat"), key=lambda path: (len(path.stem), path.stem))
    if not files:
        raise DatasetError(f"{local} holds no .mat files. Download and unpack {ADDRESS}.")
    if len({path.stem for path in files}) < len(files):
        raise DatasetError(f"{local} holds .mat files of the same name. Unpack {ADDRESS} into one empty folder.")
    rows: list[tuple[object, ...]] = []
    for path in files:
        found = read_mat(path)
        file = io.BytesIO()
        Image.fromarray(found.pixels).save(file, "JPEG", quality=_QUALITY)
        write_atomically(sources / "figshare" / found.label / f"{path.stem}.jpg", file.getvalue())
        box = [""] * 4 if found.box is None else [f"{value:.{_DIGITS}f}" for value in found.box]
        rows.append((path.stem, found.label, found.patient, found.person, *box))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    write_atomically(sources / TABLE, text.getvalue().encode())
    return sources / TABLE


def read_mat(path: Path) -> MatSlice:
    """Reads one slice.

    Raises:
        DatasetError: The file is damaged, lacks a field, or has an unknown label.
    """
    try:
        with h5py.File(path, "r") as file:
            # MATLAB writes columns first: as HDF5 shows them, rows and columns are exchanged.
            image, mask = (np.asarray(file[f"cjdata/{name}"]).T for name in ("image", "tumorMask"))
            number = int(np.asarray(file["cjdata/label"]).item())
            patient = "".join(chr(code) for code in np.asarray(file["cjdata/PID"]).ravel())
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DatasetError(
            f"{path} is not a slice of figshare's ({error}). Download it again from {ADDRESS}."
        ) from error
    if number not in _LABELS or image.ndim != 2 or image.shape != mask.shape:
        raise DatasetError(
            f"{path} has the label {number}, an image of {image.shape} and a mask of {mask.shape}. Expected: a label"
            " from 1 to 3, and image and mask of the same height and width."
        )
    return MatSlice(_grey(image), _LABELS[number], patient, _box(mask > 0))


def _grey(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    values = image.astype(np.float64)
    span = max(float(np.ptp(values)), 1.0)
    return np.asarray(np.rint((values - values.min()) * (255 / span)), dtype=np.uint8)


def _box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float] | None:
    if not mask.any():
        return None
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return (
        float(left + right) / 2 / width,
        float(top + bottom) / 2 / height,
        float(right - left) / width,
        float(bottom - top) / height,
    )
