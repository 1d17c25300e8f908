"""The datasets that training and evaluation draw from, as one table: one row for each image file.

Three public sources and one's own, told apart because a network that learns them instead of the tumour is worthless
elsewhere:

- `figshare`: J. Cheng, "brain tumor dataset", figshare 2017, CC BY 4.0; 3,064 slices of 233 patients with tumour boxes.
- `nickparvar`: M. Nickparvar, "Brain Tumor MRI Dataset", Kaggle, CC0; a merge, mostly of the other two.
- `feedback`: what people said of a server's answers, once it has been released; see `training.data.feedback`.
- `br35h`: A. Hamada, "Br35H", Kaggle; normal slices, and tumours of unnamed kind. Its licence is not stated.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from brainmri.errors import DatasetError
from brainmri.model.contract import LABELS
from training.data.boxes import Box, from_centre
from training.data.dataset import FOLDER, list_slices
from training.data.feedback import FEEDBACK, released_images, table_of
from training.data.own import OWN, OwnLabels, list_own, read_labels

TABLES = Path(__file__).parent / "published"
FIGSHARE, NICKPARVAR, BR35H = "figshare", "nickparvar", "br35h"
SOME_TUMOUR = "tumour"
"""Label of a slice that shows a tumour whose kind its source does not tell."""

TRAIN, VALIDATION, TEST = "train", "validation", "test"
NO_PART = "none"
"""Of images that nobody can assign to a person: trained on, never evaluated on."""
UNLISTED = "unlisted"
"""Of files, persons and groups that the published tables do not know: `training.data.split` assigns them."""


@dataclass(frozen=True)
class SourceImage:
    """One image file and what is known about it.

    Attributes:
        name: Path below the data folder, with forward slashes.
        source: `figshare`, `nickparvar`, `br35h`, `feedback` or `own`.
        label: One of the labels, or `tumour`.
        person: Whose head it is; empty where unknown.
        group: Of near-duplicates, mirrored and turned ones included; empty for figshare's slices and copies of them.
        slice: figshare's image id, which copies of a slice share; empty where it is none.
        mirrored: A copy that is mirrored left to right.
        part: `train`, `validation`, `test`, `none` or `unlisted`, by person or group.
        given: `Training` or `Testing` for Nickparvar's images; empty for others.
        box: Around the tumour, in shares of the file's sides; None where unknown.
    """

    name: str
    source: str
    label: str
    person: str
    group: str
    slice: str
    mirrored: bool
    part: str
    given: str
    box: Box | None


def read_sources(root: Path) -> list[SourceImage]:
    """Lists every image of the sources that lie below `root`, sorted by name; own labels make it a source by itself.

    Raises:
        DatasetError: Neither source is there, or a table lacks columns.
    """
    own = read_labels(root)
    if own is not None:
        return list(_own(root, own))
    parts = _Parts.read(TABLES / "parts.csv")
    figshare = list(_figshare(root / "sources", parts))
    boxes = {image.slice: image.box for image in figshare if image.box is not None}
    images = [*_nickparvar(root, parts, boxes), *figshare, *_br35h(root / "sources", parts), *_feedback(root)]
    if not images:
        raise DatasetError(f"{root} holds none of the sources {NICKPARVAR}, {FIGSHARE}, {BR35H}.")
    return sorted(images, key=lambda image: image.name)


def _own(root: Path, own: OwnLabels) -> Iterator[SourceImage]:
    for image in list_own(root, own):
        yield SourceImage(
            name=image.name,
            source=OWN,
            label=image.label,
            person=image.person,
            group="",
            slice="",
            mirrored=False,
            part=UNLISTED,
            given=image.given,
            box=None,
        )


@dataclass(frozen=True)
class _Parts:
    """Which part a person or a group belongs to."""

    by_kind: dict[tuple[str, str], str]

    @classmethod
    def read(cls, path: Path) -> "_Parts":
        return cls({(row["kind"], row["id"]): row["part"] for row in _read(path, ("kind", "id", "part"))})

    def of(self, label: str, person: str, group: str) -> str:
        if person:
            return self.by_kind.get(("person", person), UNLISTED)
        if not group:
            return NO_PART
        return self.by_kind.get(("br35h tumour group" if label == SOME_TUMOUR else "notumor group", group), UNLISTED)


def _nickparvar(root: Path, parts: _Parts, boxes: dict[str, Box]) -> Iterator[SourceImage]:
    if not (root / FOLDER).is_dir():
        return
    columns = ("name", "slice", "mirrored", "person", "group")
    table = {row["name"]: row for row in _read(TABLES / "nickparvar.csv", columns)}
    unlisted = {"slice": "", "mirrored": "0", "person": "", "group": ""}
    for file in list_slices(root):
        known = table.get(file.name, unlisted)
        mirrored = known["mirrored"] == "1"
        box = boxes.get(known["slice"])
        yield SourceImage(
            name=f"{FOLDER}/{file.name}",
            source=NICKPARVAR,
            label=file.label,
            person=known["person"],
            group=known["group"],
            slice=known["slice"],
            mirrored=mirrored,
            part=UNLISTED if known is unlisted else parts.of(file.label, known["person"], known["group"]),
            given=file.part,
            box=box.mirrored() if box and mirrored else box,
        )


def _figshare(folder: Path, parts: _Parts) -> Iterator[SourceImage]:
    table = folder / "figshare.csv"
    if not table.is_file():
        return
    for row in _read(table, ("image_id", "label", "person_id", *_BOX)):
        yield SourceImage(
            name=f"sources/figshare/{row['label']}/{row['image_id']}.jpg",
            source=FIGSHARE,
            label=_known(row["label"], table),
            person=row["person_id"],
            group="",
            slice=row["image_id"],
            mirrored=False,
            part=parts.of(row["label"], row["person_id"], ""),
            given="",
            box=_box(row),
        )


def _br35h(folder: Path, parts: _Parts) -> Iterator[SourceImage]:
    table = folder / "br35h.csv"
    if not table.is_file():
        return
    for row in _read(table, ("name", "label", "group", *_BOX)):
        yield SourceImage(
            name=f"sources/br35h/{row['name']}",
            source=BR35H,
            label=_known(row["label"], table),
            person="",
            group=row["group"],
            slice="",
            mirrored=False,
            part=parts.of(row["label"], "", row["group"]) if row["group"] else UNLISTED,
            given="",
            box=_box(row),
        )


def _feedback(root: Path) -> Iterator[SourceImage]:
    for image in released_images(root):
        yield SourceImage(
            name=f"sources/{image.name}",
            source=FEEDBACK,
            label=_known(image.label, table_of(root)),
            person="",
            group="",
            slice="",
            mirrored=False,
            part=UNLISTED,
            given="",
            box=None,
        )


_BOX = ("box_cx", "box_cy", "box_w", "box_h")


def _box(row: dict[str, str]) -> Box | None:
    if not all(row[column] for column in _BOX):
        return None
    return from_centre(*(float(row[column]) for column in _BOX)).clipped()


def _known(label: str, table: Path) -> str:
    if label not in (*LABELS, SOME_TUMOUR):
        raise DatasetError(f"{table} has the label {label!r}. Known: {', '.join((*LABELS, SOME_TUMOUR))}.")
    return label


def _read(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise DatasetError(f"{path} lacks the columns {', '.join(sorted(missing))}.")
        return list(reader)
