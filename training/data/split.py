"""Says which images are trained on, chosen by and tested on; a person and a group are in one part only.

The published parts decide. A file that the published tables do not know goes where a near-duplicate of it, in any
position, went; others are assigned at random by group. Fewer than three groups of a label that only feedback has are
trained on.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from brainmri.errors import DatasetError
from training.data.audit import ManifestRow, leaking_names
from training.data.feedback import FEEDBACK
from training.data.sources import FIGSHARE, NO_PART, SOME_TUMOUR, TEST, TRAIN, UNLISTED, VALIDATION
from training.data.tables import read_table, write_atomically, write_table

EXTERNAL, EXTERNAL_VALIDATION = "external", "external_validation"
SUBSETS = (TRAIN, VALIDATION, TEST, EXTERNAL_VALIDATION, EXTERNAL)
_STRICTEST_FIRST = (TEST, VALIDATION, TRAIN, NO_PART)


@dataclass(frozen=True)
class SplitRow:
    """Where one readable image belongs.

    Attributes:
        name: Path below the data folder.
        source: `figshare`, `nickparvar` or `br35h`.
        label: One of the labels, or `tumour`.
        person: Whose head it is; empty where unknown.
        unit: What counts as one picture: all copies of a slice, or a group of near-duplicates, share one.
        part: `train`, `validation`, `test` or `none`.
        subset: One of `SUBSETS`, or empty for an image that is used nowhere.
        given: `Training` or `Testing` of Nickparvar's images; empty for others.
        leak: A Testing image that stands in Training in some form.
        left: Of the tumour's box, in shares of the file's width; the box is all zeros where there is none.
        top: In shares of the file's height.
        right: In shares of the file's width.
        bottom: In shares of the file's height.
    """

    name: str
    source: str
    label: str
    person: str
    unit: str
    part: str
    subset: str
    given: str
    leak: bool
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class SplitRule:
    """How groups without a published part are assigned: the seed, and the share of each label's held-out parts."""

    seed: int = 20261121
    validation: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        """Refuses shares that leave nothing to train on."""
        if not (self.validation > 0 and self.test > 0 and self.validation + self.test < 1):
            raise DatasetError(
                f"validation={self.validation} and test={self.test} must be positive and sum to less than 1."
            )


def split(rows: list[ManifestRow], rule: SplitRule) -> list[SplitRow]:
    """Assigns every readable image.

    - `train`: images of that part, and those that nobody can assign to a person.
    - `validation`, `test`: one image of each unit, figshare's file before copies of it, else the first by name.
    - `external_validation`, `external`: all tumours of unnamed kind of these parts.

    Raises:
        DatasetError: A person or a group would be in two parts.
    """
    readable = [row for row in rows if not row.error]
    parts, leaks = _parts(readable, rule), leaking_names(rows)
    units = {row.name: _unit(row) for row in readable}
    chosen = _representatives(readable, units)
    result = [
        SplitRow(
            name=row.name,
            source=row.source,
            label=row.label,
            person=row.person,
            unit=units[row.name],
            part=parts[row.name],
            subset=_subset(row, parts[row.name], row.name == chosen[units[row.name]]),
            given=row.given,
            leak=row.name in leaks,
            left=row.left,
            top=row.top,
            right=row.right,
            bottom=row.bottom,
        )
        for row in readable
    ]
    require_apart(result)
    return result


def require_apart(rows: list[SplitRow]) -> None:
    """Refuses a split that has a person or a unit in two parts.

    Raises:
        DatasetError: It names the first one.
    """
    for kind in ("person", "unit"):
        seen: dict[str, str] = {}
        for row in rows:
            identity, part = getattr(row, kind), TRAIN if row.part == NO_PART else row.part
            if identity and seen.setdefault(identity, part) != part:
                raise DatasetError(f"The {kind} {identity!r} is in {seen[identity]} and in {part}.")


def _unit(row: ManifestRow) -> str:
    if row.slice:
        return f"slice {row.slice}"
    return f"{row.label} group {row.group}" if row.group else f"duplicates {row.duplicates}"


def _subset(row: ManifestRow, part: str, is_representative: bool) -> str:
    if part in (TRAIN, NO_PART):
        return TRAIN
    if row.label == SOME_TUMOUR:
        return EXTERNAL_VALIDATION if part == VALIDATION else EXTERNAL
    return part if is_representative else ""


def _representatives(rows: list[ManifestRow], units: dict[str, str]) -> dict[str, str]:
    chosen: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: (row.source != FIGSHARE, row.name)):
        chosen.setdefault(units[row.name], row.name)
    return chosen


def _parts(rows: list[ManifestRow], rule: SplitRule) -> dict[str, str]:
    """Returns the part of each image by name."""
    published: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.part != UNLISTED:
            for key in (f"duplicates {row.duplicates}", _key(row)):
                published[key].add(row.part)
    result = {row.name: row.part for row in rows if row.part != UNLISTED}
    unknown = [row for row in rows if row.part == UNLISTED]
    alone = []
    for row in unknown:
        known = published[f"duplicates {row.duplicates}"] | published[_key(row)]
        if known:
            result[row.name] = next(part for part in _STRICTEST_FIRST if part in known)
        else:
            alone.append(row)
    few = _too_few_for_parts(alone)
    result |= {row.name: NO_PART for row in alone if _key(row) in few}
    alone = [row for row in alone if _key(row) not in few]
    drawn = _drawn(alone, rule)
    return result | {row.name: drawn[_key(row)] for row in alone}


def _too_few_for_parts(rows: list[ManifestRow]) -> set[str]:
    """Returns the keys of labels that have fewer keys than there are parts, where feedback alone has brought them."""
    keys: dict[str, set[str]] = defaultdict(set)
    sources: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        keys[row.label].add(_key(row))
        sources[row.label].add(row.source)
    parts = len((TRAIN, VALIDATION, TEST))
    return {key for label in keys if sources[label] == {FEEDBACK} and len(keys[label]) < parts for key in keys[label]}


def _key(row: ManifestRow) -> str:
    """Returns what an image is assigned by: its person, its published group, or its near-duplicates."""
    return f"person {row.person}" if row.person else _unit(row)


def _drawn(rows: list[ManifestRow], rule: SplitRule) -> dict[str, str]:
    """Returns a part for each key at random, stratified by label.

    Raises:
        DatasetError: A label has too few persons and groups to appear in every part.
    """
    labels: dict[str, str] = {}
    for row in rows:
        # What has two labels is counted for the first.
        labels.setdefault(_key(row), row.label)
    parts: dict[str, str] = {}
    for position, label in enumerate(sorted(set(labels.values()))):
        keys = np.array(sorted(key for key, of in labels.items() if of == label))
        validation, test = (max(1, round(share * len(keys))) for share in (rule.validation, rule.test))
        if validation + test >= len(keys):
            raise DatasetError(f"{label} has {len(keys)} persons and groups, too few for three parts.")
        shuffled = np.random.default_rng([rule.seed, position]).permutation(keys)
        for index, key in enumerate(shuffled.tolist()):
            held_out = VALIDATION if index < validation else TEST
            parts[key] = held_out if index < validation + test else TRAIN
    return parts


def write_split(folder: Path, rows: list[SplitRow], rule: SplitRule, manifest_sha256: str) -> str:
    """Writes `split.csv` and `split.json` (rule, counts, hashes) and returns the SHA-256 of the CSV."""
    sha256 = write_table(folder / "split.csv", [field.name for field in fields(SplitRow)], rows)
    facts = {
        "sha256": sha256,
        "manifest_sha256": manifest_sha256,
        "seed": rule.seed,
        "validation": rule.validation,
        "test": rule.test,
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


def count(rows: list[SplitRow]) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns images, units and persons by subset and label."""
    labels = sorted({row.label for row in rows})
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for subset in SUBSETS:
        of_subset = [row for row in rows if row.subset == subset]
        result[subset] = {}
        for label in labels:
            of_label = [row for row in of_subset if row.label == label]
            result[subset][label] = {
                "images": len(of_label),
                "units": len({row.unit for row in of_label}),
                "persons": len({row.person for row in of_label if row.person}),
            }
    return result
