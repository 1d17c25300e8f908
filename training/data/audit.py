"""Looks at every file of every source: what can be read, what is a duplicate in any position, and what leaks."""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainmri.errors import InvalidInput
from brainmri.imaging import decode
from training.data.boxes import Box
from training.data.dataset import TESTING, TRAINING
from training.data.duplicates import IDENTITY, Looks, group, near_pairs
from training.data.sources import SourceImage
from training.data.tables import read_table, write_table

UNREADABLE = -1
_NO_BOX = Box(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class ManifestRow:
    """One file after the audit.

    Attributes:
        name: Path below the data folder; the identity of the image.
        source: `figshare`, `nickparvar` or `br35h`.
        label: One of the labels, or `tumour`.
        person: Whose head it is; empty where unknown.
        group: Of near-duplicates, as published; empty where there is none.
        slice: figshare's image id; empty where it is none.
        mirrored: A copy of that slice, mirrored left to right.
        part: `train`, `validation`, `test`, `none` or `unlisted`, as published.
        given: `Training` or `Testing` of Nickparvar's images; empty for others.
        left: Of the tumour's box, in shares of the file's width; the box is all zeros where there is none.
        top: In shares of the file's height.
        right: In shares of the file's width.
        bottom: In shares of the file's height.
        sha256: Hash of the file's bytes.
        bytes: Size of the file.
        width: In pixels; 0 when unreadable.
        height: In pixels; 0 when unreadable.
        mode: Pillow's mode of the file (`L`, `RGB` ...); empty when unreadable.
        duplicates: Number of its near-duplicates' group, mirrored and turned ones included; -1 when unreadable.
        upright_duplicates: The same without mirrored and turned ones.
        error: Why the file cannot be read; empty when it can.
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
    left: float
    top: float
    right: float
    bottom: float
    sha256: str
    bytes: int
    width: int
    height: int
    mode: str
    duplicates: int
    upright_duplicates: int
    error: str

    @property
    def box(self) -> Box | None:
        """Returns the tumour's box, None where it is unknown."""
        return Box(self.left, self.top, self.right, self.bottom) if self.right > self.left else None


@dataclass(frozen=True)
class _Reading:
    sha256: str
    bytes: int
    width: int = 0
    height: int = 0
    mode: str = ""
    error: str = ""


def audit(
    root: Path,
    images: list[SourceImage],
    track: Callable[[list[SourceImage]], Iterable[SourceImage]] = iter,
) -> list[ManifestRow]:
    """Reads every file below `root` once and returns one manifest row for each, in the order given."""
    readings, looks = [], []
    for image in track(images):
        reading, picture = _read(root / image.name)
        readings.append(reading)
        if picture is not None:
            looks.append(Looks.of(picture))
    readable = np.array([not reading.error for reading in readings])
    upright, every = (_numbers(looks, readable, only_upright=upright) for upright in (True, False))
    return [
        _row(image, reading, int(number), int(plain))
        for image, reading, number, plain in zip(images, readings, every, upright, strict=True)
    ]


def _numbers(looks: list[Looks], readable: NDArray[np.bool_], *, only_upright: bool) -> NDArray[np.intp]:
    numbers = np.full(len(readable), UNREADABLE, dtype=np.intp)
    if looks:
        pairs = near_pairs(looks, IDENTITY) if only_upright else near_pairs(looks)
        numbers[readable] = group(len(looks), pairs)
    return numbers


def _row(image: SourceImage, reading: _Reading, duplicates: int, upright: int) -> ManifestRow:
    left, top, right, bottom = (image.box or _NO_BOX).values()
    return ManifestRow(
        name=image.name,
        source=image.source,
        label=image.label,
        person=image.person,
        group=image.group,
        slice=image.slice,
        mirrored=image.mirrored,
        part=image.part,
        given=image.given,
        left=left,
        top=top,
        right=right,
        bottom=bottom,
        sha256=reading.sha256,
        bytes=reading.bytes,
        width=reading.width,
        height=reading.height,
        mode=reading.mode,
        duplicates=duplicates,
        upright_duplicates=upright,
        error=reading.error,
    )


def _read(path: Path) -> tuple[_Reading, Image.Image | None]:
    try:
        data = path.read_bytes()
    except OSError as error:
        return _Reading(sha256="", bytes=0, error=f"The file cannot be read: {error.strerror}."), None
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        pixels = decode(data)
    except InvalidInput as error:
        return _Reading(sha256=sha256, bytes=len(data), error=error.message), None
    with Image.open(io.BytesIO(data)) as image:
        mode = image.mode
    height, width = pixels.shape[:2]
    reading = _Reading(sha256=sha256, bytes=len(data), width=width, height=height, mode=mode)
    return reading, Image.fromarray(pixels).convert("L")


def write_manifest(path: Path, rows: list[ManifestRow]) -> str:
    """Writes the manifest as CSV and returns the SHA-256 of the file: the hash of the data."""
    return write_table(path, [field.name for field in fields(ManifestRow)], rows)


def read_manifest(path: Path) -> list[ManifestRow]:
    """Reads a manifest that `write_manifest` wrote.

    Raises:
        DatasetError: The file is missing or has other columns.
    """
    return read_table(path, ManifestRow, remedy="Run `python -m training audit` first.")


def summarise(rows: list[ManifestRow]) -> dict[str, Any]:
    """Returns the audit's figures: counts by source, label and part, duplicates, and how the given split leaks."""
    readable = [row for row in rows if not row.error]
    return {
        "images": len(rows),
        "per_source_and_label": _counts(f"{row.source} {row.label}" for row in rows),
        "per_part_and_label": _counts(f"{row.part} {row.label}" for row in rows),
        "unreadable": {row.name: row.error for row in rows if row.error},
        "sizes": _counts(f"{row.width}x{row.height}" for row in readable),
        "modes": _counts(row.mode for row in readable),
        "persons": len({row.person for row in rows if row.person}),
        "boxes": sum(row.box is not None for row in rows),
        "exact_duplicates": len(readable) - len({row.sha256 for row in readable}),
        "duplicate_groups": len({row.duplicates for row in readable}),
        "duplicate_groups_upright": len({row.upright_duplicates for row in readable}),
        "found_only_mirrored_or_turned": _found_only_turned(readable),
        "duplicates_across_labels": _across(readable, lambda row: row.label),
        "duplicates_across_parts": _across(readable, lambda row: row.part),
        "given": _given(rows),
    }


def _found_only_turned(rows: list[ManifestRow]) -> dict[str, int]:
    """Returns by source how many images have a near-duplicate, but none that is upright."""
    every, upright = (Counter(getattr(row, name) for row in rows) for name in ("duplicates", "upright_duplicates"))
    return _counts(row.source for row in rows if every[row.duplicates] > 1 and upright[row.upright_duplicates] == 1)


def _across(rows: list[ManifestRow], of: Callable[[ManifestRow], str]) -> int:
    seen: dict[int, set[str]] = {}
    for row in rows:
        seen.setdefault(row.duplicates, set()).add(of(row))
    return sum(len(values) > 1 for values in seen.values())


def _given(rows: list[ManifestRow]) -> dict[str, int]:
    """Returns how many of Nickparvar's Testing images stand in its Training in some form."""
    training = [row for row in rows if row.given == TRAINING]
    testing = [row for row in rows if row.given == TESTING]
    hashes, persons = {row.sha256 for row in training}, {row.person for row in training} - {""}
    every, upright = {row.duplicates for row in training}, {row.upright_duplicates for row in training}
    leaks = leaking_names(rows)
    return {
        "testing_images": len(testing),
        "exact_copies": sum(row.sha256 in hashes for row in testing),
        "near_duplicates": sum(row.upright_duplicates in upright for row in testing),
        "near_duplicates_in_any_position": sum(row.duplicates in every for row in testing),
        "with_a_person_of_training": sum(row.person in persons for row in testing),
        "leaking": len(leaks),
    }


def leaking_names(rows: list[ManifestRow]) -> set[str]:
    """Returns Nickparvar's Testing images with a near-duplicate, a copy of the same slice or the person in Training."""
    known: set[tuple[str, object]] = set()
    for row in rows:
        if row.given == TRAINING and not row.error:
            known |= _identities(row)
    return {row.name for row in rows if row.given == TESTING and not row.error and _identities(row) & known}


def _identities(row: ManifestRow) -> set[tuple[str, object]]:
    found: set[tuple[str, object]] = {("duplicates", row.duplicates)}
    found |= {(name, getattr(row, name)) for name in ("person", "slice") if getattr(row, name)}
    return found | ({("group", (row.label, row.group))} if row.group else set())


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def report(summary: dict[str, Any]) -> str:
    """Returns the audit's figures as a Markdown page."""
    lines = ["# Audit of the data", ""]
    for key, value in summary.items():
        title = key.replace("_", " ")
        if isinstance(value, dict):
            lines += [f"## {title.capitalize()}", ""]
            lines += [f"- {name.replace('_', ' ')}: {item}" for name, item in value.items()] or ["- none"]
            lines.append("")
        else:
            lines += [f"**{title.capitalize()}:** {value}", ""]
    return "\n".join(lines)
