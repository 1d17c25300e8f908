"""The Brain Tumor MRI Dataset on disk: its folder layout, with the spelling variants of its copies.

Source: M. Nickparvar, "Brain Tumor MRI Dataset", Kaggle, CC0, merged from figshare (Cheng), SARTAJ and Br35H.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from brainmri.errors import DatasetError
from brainmri.model.contract import LABELS

KAGGLE_HANDLE = "masoudnickparvar/brain-tumor-mri-dataset"
FOLDER = "brain-mri"
TRAINING, TESTING = "Training", "Testing"

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"})
_SPELLINGS = {
    "glioma": "glioma",
    "gliomatumor": "glioma",
    "meningioma": "meningioma",
    "meningiomatumor": "meningioma",
    "notumor": "notumor",
    "no": "notumor",
    "normal": "notumor",
    "healthy": "notumor",
    "pituitary": "pituitary",
    "pituitarytumor": "pituitary",
}


@dataclass(frozen=True)
class SliceFile:
    """One image file of the dataset.

    Attributes:
        path: Absolute path.
        name: Path below the dataset folder, with forward slashes: the file's identity.
        part: `Training` or `Testing`.
        label: One of `brainmri.model.contract.LABELS`.
        source: Origin told from the file name: `sartaj` for the `*Tr_*` names, `merged` for all others.
    """

    path: Path
    name: str
    part: str
    label: str
    source: str


def canonical_label(folder: str) -> str | None:
    """Returns the label that a folder name spells (`No Tumor`, `no_tumor`, `Glioma` ...), or None."""
    return _SPELLINGS.get(re.sub(r"[^a-z]", "", folder.lower()))


def is_image(path: Path) -> bool:
    """Returns whether the suffix of a file is that of an image."""
    return path.suffix.lower() in _SUFFIXES


def find_dataset(root: Path) -> Path:
    """Returns the folder that holds `Training/` and `Testing/`: `root`, or `root/brain-mri`.

    Raises:
        DatasetError: Neither does.
    """
    for candidate in (root, root / FOLDER):
        if _part_folder(candidate, TRAINING) and _part_folder(candidate, TESTING):
            return candidate
    raise DatasetError(
        f"No Training/ and Testing/ folder in {root} or {root / FOLDER}. "
        "Download the dataset with `python -m training fetch`, or name its folder with --data."
    )


def list_slices(root: Path) -> list[SliceFile]:
    """Lists every image file of the dataset below `root`, sorted by name.

    Raises:
        DatasetError: No dataset there, a folder that spells no known label, or a label without images.
    """
    dataset = find_dataset(root)
    slices = sorted(_walk(dataset), key=lambda item: item.name)
    for part in (TRAINING, TESTING):
        missing = set(LABELS) - {item.label for item in slices if item.part == part}
        if missing:
            raise DatasetError(f"{dataset / part} holds no images of {', '.join(sorted(missing))}.")
    return slices


def _part_folder(dataset: Path, part: str) -> Path | None:
    if not dataset.is_dir():
        return None
    return next((child for child in dataset.iterdir() if child.is_dir() and child.name.lower() == part.lower()), None)


def _walk(dataset: Path) -> Iterator[SliceFile]:
    for part in (TRAINING, TESTING):
        folder = _part_folder(dataset, part) or dataset / part
        for class_folder in sorted(child for child in folder.iterdir() if child.is_dir()):
            label = canonical_label(class_folder.name)
            if label is None:
                raise DatasetError(
                    f"{class_folder} spells none of the labels {', '.join(LABELS)}. Rename or remove it, or name"
                    f" your own labels in {dataset / 'labels.yaml'}, as docs/architectures.md says."
                )
            for path in class_folder.rglob("*"):
                if is_image(path):
                    name = path.relative_to(dataset).as_posix()
                    yield SliceFile(path=path, name=name, part=part, label=label, source=_source(path.name))


def _source(file_name: str) -> str:
    return "sartaj" if re.match(r"T[re]-[a-z]{2}Tr_", file_name) else "merged"
