"""Looks at every file of the dataset: what can be read, what is a duplicate, and what leaks into Testing."""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image

from brainmri.errors import InvalidInput
from brainmri.imaging import decode
from brainmri.model.contract import LABELS
from training.data.dataset import TESTING, TRAINING, SliceFile
from training.data.duplicates import dct_hash, grey, group, near_pairs, thumbnail
from training.data.tables import read_table, write_table

UNREADABLE_GROUP = -1


@dataclass(frozen=True)
class ManifestRow:
    """One file of the dataset after the audit.

    Attributes:
        name: Path below the dataset folder; the identity of the image.
        part: `Training` or `Testing`.
        label: One of the four labels.
        source: `sartaj` or `merged`, from the file name.
        sha256: Hash of the file's bytes.
        bytes: Size of the file.
        width: In pixels; 0 when unreadable.
        height: In pixels; 0 when unreadable.
        mode: Pillow's mode of the file (`L`, `RGB` ...); empty when unreadable.
        group: Number of the near-duplicate group; -1 when unreadable.
        exact_leak: A Testing image whose bytes also stand in Training.
        leak: A Testing image with a near-duplicate in Training.
        error: Why the file cannot be read; empty when it can.
    """

    name: str
    part: str
    label: str
    source: str
    sha256: str
    bytes: int
    width: int
    height: int
    mode: str
    group: int
    exact_leak: bool
    leak: bool
    error: str


@dataclass(frozen=True)
class _Reading:
    sha256: str
    bytes: int
    width: int = 0
    height: int = 0
    mode: str = ""
    error: str = ""


def audit(slices: list[SliceFile], track: Callable[[list[SliceFile]], Iterable[SliceFile]] = iter) -> list[ManifestRow]:
    """Reads every file once and returns one manifest row for each, in the order given.

    Args:
        slices: The dataset's files.
        track: Wraps the iteration, for a progress bar.
    """
    readings, hashes, thumbnails = [], [], []
    for item in track(slices):
        reading, image = _read(item.path)
        readings.append(reading)
        if image is not None:
            hashes.append(dct_hash(image))
            thumbnails.append(thumbnail(image))
    readable = np.array([not reading.error for reading in readings])
    groups = np.full(len(slices), UNREADABLE_GROUP, dtype=np.intp)
    if readable.any():
        pairs = near_pairs(np.stack(hashes), np.stack(thumbnails))
        groups[readable] = group(int(readable.sum()), pairs)
    in_training = [item.part == TRAINING for item in slices]
    training_hashes = {r.sha256 for r, training in zip(readings, in_training, strict=True) if training}
    training_groups = {int(g) for g, training in zip(groups, in_training, strict=True) if training} - {UNREADABLE_GROUP}
    return [
        ManifestRow(
            name=item.name,
            part=item.part,
            label=item.label,
            source=item.source,
            sha256=reading.sha256,
            bytes=reading.bytes,
            width=reading.width,
            height=reading.height,
            mode=reading.mode,
            group=int(number),
            exact_leak=item.part == TESTING and reading.sha256 in training_hashes,
            leak=item.part == TESTING and int(number) in training_groups,
            error=reading.error,
        )
        for item, reading, number in zip(slices, readings, groups, strict=True)
    ]


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
    return _Reading(sha256=sha256, bytes=len(data), width=width, height=height, mode=mode), grey(pixels)


def write_manifest(path: Path, rows: list[ManifestRow]) -> str:
    """Writes the manifest as CSV and returns the SHA-256 of the file: the hash of the data."""
    return write_table(path, [field.name for field in fields(ManifestRow)], rows)


def read_manifest(path: Path) -> list[ManifestRow]:
    """Reads a manifest that `write_manifest` wrote.

    Raises:
        DatasetError: The file is missing or has other columns.
    """
    return read_table(path, ManifestRow, remedy="Run `python -m training audit` first.")


def summarise(rows: list[ManifestRow]) -> dict[str, object]:
    """Returns the audit's figures: counts by part and label, sizes, modes, groups, duplicates and leaks."""
    readable = [row for row in rows if not row.error]
    testing = [row for row in rows if row.part == TESTING]
    labels_of: dict[int, set[str]] = {}
    for row in readable:
        labels_of.setdefault(row.group, set()).add(row.label)
    return {
        "images": len(rows),
        "per_part_and_label": {
            part: {label: sum(r.part == part and r.label == label for r in rows) for label in LABELS}
            for part in (TRAINING, TESTING)
        },
        "unreadable": {row.name: row.error for row in rows if row.error},
        "sizes": _counts(f"{row.width}x{row.height}" for row in readable),
        "modes": _counts(row.mode for row in readable),
        "sources": _counts(f"{row.part} {row.source}" for row in rows),
        "exact_duplicates": len(readable) - len({row.sha256 for row in readable}),
        "groups": len(labels_of),
        "groups_with_two_labels": sum(len(labels) > 1 for labels in labels_of.values()),
        "groups_per_label": {label: sum(label in labels for labels in labels_of.values()) for label in LABELS},
        "testing_images": len(testing),
        "testing_exact_leaks": sum(row.exact_leak for row in testing),
        "testing_near_leaks": sum(row.leak for row in testing),
        "testing_near_leaks_per_label": {
            label: sum(row.leak and row.label == label for row in testing) for label in LABELS
        },
        "testing_leak_free_per_label": {
            label: sum(not row.leak and not row.error and row.label == label for row in testing) for label in LABELS
        },
    }


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def report(summary: dict[str, object]) -> str:
    """Returns the audit's figures as a Markdown page."""
    lines = ["# Audit of the dataset", ""]
    for key, value in summary.items():
        title = key.replace("_", " ")
        if isinstance(value, dict):
            lines += [f"## {title.capitalize()}", ""]
            lines += [f"- {name}: {item}" for name, item in value.items()] or ["- none"]
            lines.append("")
        else:
            lines += [f"**{title.capitalize()}:** {value}", ""]
    return "\n".join(lines)
