"""Cuts Training into train, validation and hold-out; a group of near-duplicates is never cut.

Testing stays whole: `given` is all of it, `leak_free` leaves out what has a near-duplicate in Training.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from brainmri.errors import DatasetError
from brainmri.model.contract import LABELS
from training.data.audit import ManifestRow
from training.data.dataset import TESTING, TRAINING
from training.data.tables import read_table, write_atomically, write_table

TRAIN, VALIDATION, HOLDOUT, TEST = "train", "validation", "holdout", "test"


@dataclass(frozen=True)
class SplitRow:
    """Where one readable image belongs.

    Attributes:
        name: Path below the dataset folder.
        label: One of the four labels.
        group: Near-duplicate group.
        subset: `train`, `validation`, `holdout` or `test`.
        leak: A `test` image with a near-duplicate in Training.
        source: Origin told from the file name.
    """

    name: str
    label: str
    group: int
    subset: str
    leak: bool
    source: str


@dataclass(frozen=True)
class SplitRule:
    """How to split: the seed and the share of each label's groups that each held-out subset takes."""

    seed: int = 20261121
    validation: float = 0.1
    holdout: float = 0.1

    def __post_init__(self) -> None:
        """Refuses shares that leave nothing to train on."""
        if not (self.validation > 0 and self.holdout > 0 and self.validation + self.holdout < 1):
            raise DatasetError(
                f"validation={self.validation} and holdout={self.holdout} must be positive and sum to less than 1."
            )


def split(rows: list[ManifestRow], rule: SplitRule) -> list[SplitRow]:
    """Assigns every readable image to a subset, stratified by label over near-duplicate groups.

    Raises:
        DatasetError: A label has too few groups to appear in every subset.
    """
    subset_of = _assign_groups(rows, rule)
    return [
        SplitRow(
            name=row.name,
            label=row.label,
            group=row.group,
            subset=TEST if row.part == TESTING else subset_of[row.group],
            leak=row.leak,
            source=row.source,
        )
        for row in rows
        if not row.error
    ]


def _assign_groups(rows: list[ManifestRow], rule: SplitRule) -> dict[int, str]:
    groups_of: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        if row.part == TRAINING and not row.error:
            groups_of[row.label].add(row.group)
    subset_of: dict[int, str] = {}
    for position, label in enumerate(LABELS):
        # A group with two labels keeps the subset of the first.
        groups = np.array(sorted(groups_of[label] - subset_of.keys()))
        validation, holdout = (max(1, round(share * len(groups))) for share in (rule.validation, rule.holdout))
        if validation + holdout >= len(groups):
            raise DatasetError(f"{label} has {len(groups)} groups in Training, too few for three subsets.")
        shuffled = np.random.default_rng([rule.seed, position]).permutation(groups)
        for index, number in enumerate(shuffled.tolist()):
            held_out = VALIDATION if index < validation else HOLDOUT
            subset_of[number] = held_out if index < validation + holdout else TRAIN
    return subset_of


def write_split(folder: Path, rows: list[SplitRow], rule: SplitRule, manifest_sha256: str) -> str:
    """Writes `split.csv` and `split.json` (rule, counts, hashes) and returns the SHA-256 of the CSV."""
    sha256 = write_table(folder / "split.csv", [field.name for field in fields(SplitRow)], rows)
    facts = {
        "sha256": sha256,
        "manifest_sha256": manifest_sha256,
        "seed": rule.seed,
        "validation": rule.validation,
        "holdout": rule.holdout,
        "counts": count(rows),
    }
    write_atomically(folder / "split.json", (json.dumps(facts, indent=2) + "\n").encode())
    return sha256


def read_split(folder: Path) -> list[SplitRow]:
    """Reads `split.csv`.

    Raises:
        DatasetError: The file is missing or has other columns.
    """
    return read_table(folder / "split.csv", SplitRow, remedy="Run `python -m training split` first.")


def count(rows: list[SplitRow]) -> dict[str, dict[str, dict[str, int]]]:
    """Returns images and groups by subset and label."""
    return {
        subset: {
            label: {
                "images": sum(r.subset == subset and r.label == label for r in rows),
                "groups": len({r.group for r in rows if r.subset == subset and r.label == label}),
            }
            for label in LABELS
        }
        for subset in (TRAIN, VALIDATION, HOLDOUT, TEST)
    }
