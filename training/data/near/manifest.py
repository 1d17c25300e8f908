"""The manifest that freezes the near set: every image by name, its slices, and the hash of its pixels."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmri.imaging import decode
from brainmri.model.bundle import file_sha256
from brainmri.model.contract import LABELS
from training.data.near.altered import altered_images
from training.data.near.drawn import drawn_images
from training.data.near.image import NearImage
from training.data.near.medical import medical_images
from training.data.sources import NICKPARVAR, TEST
from training.data.split import SplitRow
from training.data.tables import read_table, write_table

MANIFEST = Path(__file__).parent / "manifest.csv"
_ALTERED_COUNTS = {"inverted": 24, "shuffled": 16, "drowned": 12, "sheet": 8}
_SHEET_SLICES = 4


@dataclass(frozen=True)
class NearRow:
    """One image of the manifest.

    Attributes:
        name: Identity within the near set.
        kind: What it shows.
        origin: `real`, `drawn` or `altered`.
        slices: Names of the dataset's slices that it is made of, separated by bars; empty for the others.
        sha256: Hash of shape and pixels.
    """

    name: str
    kind: str
    origin: str
    slices: str
    sha256: str


@dataclass(frozen=True)
class NearSet:
    """The near set as built here and now.

    Attributes:
        images: In the order of the manifest.
        manifest_sha256: Hash of the manifest.
        missing: Names of images whose slices the dataset at hand does not have.
        differing: Names of images whose pixels are not those that were frozen.
    """

    images: list[NearImage]
    manifest_sha256: str
    missing: list[str]
    differing: list[str]


def build_near_set(dataset: Path, manifest: Path = MANIFEST) -> NearSet:
    """Makes every image of the manifest again, and tells which are not as frozen.

    Args:
        dataset: Folder that holds `Training/` and `Testing/`.
        manifest: The table that `freeze` wrote.

    Raises:
        DatasetError: The manifest or a file of pydicom is missing.
    """
    rows = read_table(manifest, NearRow, remedy="Restore it from the repository.")
    fixed = {image.name: image for image in _fixed()}
    images, missing, differing = [], [], []
    for row in rows:
        image = fixed.get(row.name) if not row.slices else _altered(dataset, row)
        if image is None:
            missing.append(row.name)
            continue
        images.append(image)
        if image.sha256 != row.sha256:
            differing.append(row.name)
    return NearSet(images, file_sha256(manifest), missing, differing)


def freeze(dataset: Path, rows: list[SplitRow], manifest: Path = MANIFEST, seed: int = 20261121) -> str:
    """Writes the manifest anew, with altered slices from Testing, and returns its SHA-256.

    Only for a new edition of the near set: published figures belong to the edition they were measured on.
    """
    plain = [NearRow(image.name, image.kind, image.origin, "", image.sha256) for image in _fixed()]
    altered = []
    for unfinished in _choose_slices(rows, np.random.default_rng(seed)):
        image = _altered(dataset, unfinished)
        assert image is not None, unfinished  # noqa: S101 -- the split has just named the slices
        altered.append(NearRow(image.name, image.kind, image.origin, unfinished.slices, image.sha256))
    return write_table(manifest, [field.name for field in fields(NearRow)], [*plain, *altered])


@cache
def _fixed() -> tuple[NearImage, ...]:
    return (*medical_images(), *drawn_images())


def _choose_slices(rows: list[SplitRow], rng: np.random.Generator) -> Iterator[NearRow]:
    ours = [row for row in rows if row.source == NICKPARVAR and row.part == TEST]
    pools = {label: [row.name.partition("/")[2] for row in ours if row.label == label] for label in LABELS}
    for kind, count in _ALTERED_COUNTS.items():
        for number in range(count):
            label = LABELS[number % len(LABELS)]
            taken = rng.choice(pools[label], _SHEET_SLICES if kind == "sheet" else 1, replace=False)
            yield NearRow(f"{kind}/{number:02d}", kind, "", "|".join(taken.tolist()), "")


def _altered(dataset: Path, row: NearRow) -> NearImage | None:
    paths = [dataset / name for name in row.slices.split("|")]
    if not all(path.is_file() for path in paths):
        return None
    slices: list[NDArray[np.uint8]] = [decode(path.read_bytes()) for path in paths]
    return altered_images(row.kind, int(row.name.rpartition("/")[2]), slices)
