"""A dataset with labels of its own: what `labels.yaml` beside its folders says, and the images in them."""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainmri.errors import DatasetError
from brainmri.model.contract import LABELS, MOST_LABELS, NO_TUMOR, RELEASED_CLASSES, RESERVED_LABELS, Classes, Name
from training.data.dataset import FOLDER, TESTING, TRAINING, is_image
from training.data.tables import write_atomically

LABELS_FILE, PERSONS_FILE = "labels.yaml", "persons.csv"
OWN = "own"
"""The source of such images."""


class _LabelsFile(BaseModel):
    """What `labels.yaml` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[Name, ...] = Field(min_length=2, max_length=MOST_LABELS)
    no_tumor: str | None = None
    folders: Mapping[str, str] = {}


@dataclass(frozen=True)
class OwnLabels:
    """The labels of a dataset.

    Attributes:
        path: Of the file that names them.
        classes: The labels in the order of the logits.
        folders: Name of a folder to its label, where they differ.
    """

    path: Path
    classes: Classes
    folders: Mapping[str, str]

    def label(self, folder: Path) -> str:
        """Returns the label of a class folder.

        Raises:
            DatasetError: It has none; says how to give it one.
        """
        named = self.folders.get(folder.name)
        if named is not None:
            return named
        spelt = re.sub("[^a-z0-9]+", "_", folder.name.lower()).strip("_")
        if spelt in self.classes.labels:
            return spelt
        raise DatasetError(
            f"The folder {folder} names none of the labels {', '.join(self.classes.labels)}. Rename or remove it, or"
            f" map it in {self.path}: `folders: {{{json.dumps(folder.name)}: {self.classes.labels[0]}}}`."
        )


@dataclass(frozen=True)
class OwnImage:
    """One image of such a dataset: its path below the data folder, its label, its part and its person."""

    name: str
    label: str
    given: str
    person: str


def read_labels(root: Path) -> OwnLabels | None:
    """Reads `labels.yaml` in the data folder or its `brain-mri/`; None where the labels are the released ones.

    Raises:
        DatasetError: The file is not valid; quotes what is wrong.
    """
    path = next((folder / LABELS_FILE for folder in (root, root / FOLDER) if (folder / LABELS_FILE).is_file()), None)
    if path is None:
        return None
    try:
        said = _LabelsFile.model_validate(yaml.safe_load(path.read_text()))
    except (ValidationError, yaml.YAMLError) as error:
        raise DatasetError(f"{path} is not valid: {error}") from error
    if len(set(said.labels)) != len(said.labels):
        raise DatasetError(f"{path} names a label twice.")
    unknown = {said.no_tumor, *said.folders.values()} - {None, *said.labels}
    if unknown:
        raise DatasetError(f"{path} uses {', '.join(map(repr, unknown))}, which its `labels` do not name.")
    if reserved := set(said.labels) & set(RESERVED_LABELS):
        raise DatasetError(f"{path}: {', '.join(reserved)} cannot be a label, because answers use the word. Rename it.")
    return OwnLabels(path, Classes(said.labels, said.no_tumor), said.folders)


def own_folder(root: Path, own: OwnLabels) -> Path:
    """Returns what holds `Training/` and `Testing/`, or the class folders: `brain-mri/` of the data folder, or that."""
    return own.path.parent if own.path.parent.name == FOLDER or not (root / FOLDER).is_dir() else root / FOLDER


def list_own(root: Path, own: OwnLabels) -> list[OwnImage]:
    """Lists the images of a dataset with own labels, sorted by name: `Training/` and `Testing/`, or folders alone.

    Raises:
        DatasetError: A folder has no label, a label has no image, or `persons.csv` lacks its columns.
    """
    base = own_folder(root, own)
    persons = _persons(own.path.parent / PERSONS_FILE)
    images = sorted(_walk(root, base, own, persons), key=lambda image: image.name)
    missing = set(own.classes.labels) - {image.label for image in images}
    if missing:
        raise DatasetError(f"{base} holds no images of {', '.join(sorted(missing))}, which {own.path} names.")
    return images


def _walk(root: Path, base: Path, own: OwnLabels, persons: Mapping[str, str]) -> Iterator[OwnImage]:
    parts = {part: base / part for part in (TRAINING, TESTING) if (base / part).is_dir()} or {"": base}
    for part, folder in parts.items():
        for class_folder in sorted(child for child in folder.iterdir() if child.is_dir()):
            label = own.label(class_folder)
            for path in filter(is_image, class_folder.rglob("*")):
                person = persons.get(path.relative_to(base).as_posix(), "")
                yield OwnImage(path.relative_to(root).as_posix(), label, part, person)


def _persons(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if not {"name", "person"} <= set(reader.fieldnames or ()):
            raise DatasetError(f"{path} needs the columns name and person; name is a path below the class folders.")
        return {row["name"]: row["person"] for row in reader}


def write_classes(path: Path, classes: Classes) -> None:
    """Writes the labels of a workspace; those of the released models need no file."""
    if classes == RELEASED_CLASSES:
        path.unlink(missing_ok=True)
        return
    said = {"labels": classes.labels, "no_tumor": classes.no_tumor}
    write_atomically(path, (json.dumps(said, indent=2) + "\n").encode())


def read_classes(path: Path) -> Classes:
    """Reads what `write_classes` wrote."""
    if not path.is_file():
        return Classes(LABELS, NO_TUMOR)
    said = json.loads(path.read_text())
    return Classes(tuple(said["labels"]), said["no_tumor"])
