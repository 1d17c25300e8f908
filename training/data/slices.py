"""Every image of a split as one memory-mapped array of model inputs, made by serving's own decode and resize."""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from brainmri.errors import DatasetError
from brainmri.imaging import PREPROCESSING_VERSION, SIDE, decode, to_tensor
from brainmri.model.contract import LABELS, NO_TUMOR, RELEASED_CLASSES, Classes
from training.data.boxes import Box
from training.data.sources import FIGSHARE, SOME_TUMOUR
from training.data.split import SplitRow
from training.data.tables import write_atomically

NOTUMOR = LABELS.index(NO_TUMOR)
"""That of the released models."""
NOWHERE = -9
"""Stands for "no tumour" among the indices of labels where no label means so; no image has it."""
UNNAMED = -1
"""Stands for `tumour` among the indices of labels."""

_PIXELS, _BOXES, _FACTS = "pixels.npy", "boxes.npy", "pixels.json"


@dataclass(frozen=True)
class Slices:
    """Decoded images and their facts, row by row.

    Attributes:
        pixels: uint8 `[N, 299, 299, 3]`, usually memory-mapped.
        images: What the split says of each, in the same order.
        labels: intp `[N]`, indices into the labels, or `UNNAMED`.
        groups: intp `[N]`, numbers of units: near-duplicates and copies share one.
        boxes: float32 `[N, 4]`, left, top, right, bottom in shares of the padded square; zeros where there is none.
        classes: What the dataset tells apart.
    """

    pixels: NDArray[np.uint8]
    images: list[SplitRow]
    labels: NDArray[np.intp]
    groups: NDArray[np.intp]
    boxes: NDArray[np.float32]
    classes: Classes = RELEASED_CLASSES

    @property
    def no_tumor(self) -> int:
        """Index of the label that means "no tumour"; `NOWHERE` if none does."""
        return index_of_no_tumor(self.classes)

    def subset(self, name: str) -> NDArray[np.intp]:
        """Returns the row numbers of a subset, in order; `training.data.split.SUBSETS` are known."""
        return np.array([number for number, row in enumerate(self.images) if row.subset == name], dtype=np.intp)

    def first_of_each_group(self, name: str) -> NDArray[np.intp]:
        """Returns the first row of every unit of a subset, in order."""
        rows = self.subset(name)
        _, first = np.unique(self.groups[rows], return_index=True)
        return rows[np.sort(first)]

    def one_of_each_group(self, name: str, count: int, seed: int) -> NDArray[np.uint8]:
        """Returns up to `count` images `[N, 299, 299, 3]` of a subset, drawn from as many units."""
        chosen = np.random.default_rng(seed).permutation(self.first_of_each_group(name))[:count]
        return np.asarray(self.pixels[np.sort(chosen)])

    def family(self, row: int) -> tuple[str, str]:
        """Returns what the images that look like this one share: their label, and where they come from.

        Figshare's slices and their copies in other sources are one family.
        """
        image = self.images[row]
        return image.label, FIGSHARE if image.unit.startswith("slice ") else image.source

    def box(self, row: int) -> Box | None:
        """Returns the tumour's box of a row, in shares of the padded square."""
        left, top, right, bottom = self.boxes[row].tolist()
        return Box(left, top, right, bottom) if right > left else None


def index_of_no_tumor(classes: Classes) -> int:
    """Returns the index of the label that means "no tumour"; `NOWHERE` if none does."""
    return NOWHERE if classes.no_tumor is None else classes.labels.index(classes.no_tumor)


def decode_split(
    root: Path,
    rows: list[SplitRow],
    split_sha256: str,
    folder: Path,
    track: Callable[[list[SplitRow]], Iterable[SplitRow]] = iter,
    classes: Classes = RELEASED_CLASSES,
) -> Slices:
    """Decodes every image below `root` once into `folder`; a later call for the same split only maps the file.

    Raises:
        DatasetError: `folder` holds another number of images than the split.
    """
    facts = {"split_sha256": split_sha256, "preprocessing_version": PREPROCESSING_VERSION, "images": len(rows)}
    facts_path = folder / _FACTS
    if not (facts_path.is_file() and json.loads(facts_path.read_text()) == facts):
        facts_path.unlink(missing_ok=True)
        _write(root, rows, folder, track)
        write_atomically(facts_path, json.dumps(facts).encode())
    pixels = cast("NDArray[np.uint8]", np.load(folder / _PIXELS, mmap_mode="r", allow_pickle=False))
    if len(pixels) != len(rows):
        raise DatasetError(f"{folder / _PIXELS} holds {len(pixels)} images, the split {len(rows)}. Delete {folder}.")
    return as_slices(pixels, rows, np.load(folder / _BOXES, allow_pickle=False), classes)


def _write(
    root: Path, rows: list[SplitRow], folder: Path, track: Callable[[list[SplitRow]], Iterable[SplitRow]]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    boxes = np.zeros((len(rows), 4), np.float32)
    # Aside, then renamed: a run that maps the old file keeps it.
    aside = folder / f".{_PIXELS}.{os.getpid()}"
    pixels = np.lib.format.open_memmap(aside, mode="w+", dtype=np.uint8, shape=(len(rows), SIDE, SIDE, 3))
    for number, row in enumerate(track(rows)):
        picture = decode((root / row.name).read_bytes())
        pixels[number] = to_tensor(picture)
        if row.right > row.left:
            box = Box(row.left, row.top, row.right, row.bottom)
            boxes[number] = box.padded(width=picture.shape[1], height=picture.shape[0]).values()
    pixels.flush()
    aside.replace(folder / _PIXELS)
    np.save(folder / _BOXES, boxes)


def as_slices(
    pixels: NDArray[np.uint8],
    rows: list[SplitRow],
    boxes: NDArray[np.float32],
    classes: Classes = RELEASED_CLASSES,
) -> Slices:
    """Returns decoded images with their labels and units as numbers."""
    units = {unit: number for number, unit in enumerate(dict.fromkeys(row.unit for row in rows))}
    labels = [UNNAMED if row.label == SOME_TUMOUR else classes.labels.index(row.label) for row in rows]
    return Slices(
        pixels=pixels,
        images=rows,
        labels=np.array(labels, dtype=np.intp),
        groups=np.array([units[row.unit] for row in rows], dtype=np.intp),
        boxes=boxes,
        classes=classes,
    )
