"""What people said of a server's answers, as labelled images that the audit reads once a person has released them.

The set is one more source: `sources/feedback/` holds the images, `sources/feedback.csv` the table of them, the most
uncertain first, and `sources/feedback.released` the hash of the table that a person has looked at. Without that file,
or when the table has changed since, no image of it is trained on.
"""

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from brainmri.errors import DatasetError, InvalidInput
from brainmri.imaging import decode
from brainmri.model.bundle import file_sha256
from brainmri.model.contract import NOT_USABLE
from training.data.tables import read_table, write_atomically, write_table

FEEDBACK = "feedback"
Ask = Callable[[bytes], tuple[str, float]]
"""Returns the verdict of a model on an image file, and its confidence in [0, 1]."""


@dataclass(frozen=True)
class LabelledImage:
    """One image with the label that people gave it.

    Attributes:
        name: Path below `sources/`, with forward slashes.
        label: What it shows, as people said.
        sha256: Hash of the file's bytes.
        verdict: What the model says of it.
        uncertainty: 1 less the model's confidence, in [0, 1].
    """

    name: str
    label: str
    sha256: str
    verdict: str
    uncertainty: float


@dataclass(frozen=True)
class LabelledSet:
    """What feedback and a folder of images come to.

    Attributes:
        images: The labelled images, the most uncertain first.
        left_out: Why feedback has come to no labelled image, to how many images or requests.
    """

    images: list[LabelledImage]
    left_out: Mapping[str, int]


def table_of(data: Path) -> Path:
    """Returns the table of the set in a data folder."""
    return data / "sources" / f"{FEEDBACK}.csv"


def release_of(data: Path) -> Path:
    """Returns the file that holds the hash of the released table."""
    return data / "sources" / f"{FEEDBACK}.released"


def collect(
    entries: Iterable[Mapping[str, Any]],
    images: Path,
    data: Path,
    labels: Iterable[str],
    requests: Mapping[str, str],
    ask: Ask,
) -> LabelledSet:
    """Writes the set into a data folder, unreleased; a release of an earlier table does not hold for it.

    An image of which people said different things is left out, and so is one that somebody called not usable.

    Args:
        entries: The lines of the server's store.
        images: Folder of image files, found by the hash of their bytes, whatever their names.
        data: The data folder.
        labels: Those of the model.
        requests: Request id to the SHA-256 of its image, for feedback that names requests.
        ask: Answers an image file.

    Raises:
        DatasetError: No feedback comes to a labelled image.
    """
    left_out: Counter[str] = Counter()
    said = _labels_by_image(entries, requests, left_out)
    files = _files_by_hash(images, said.keys())
    known = set(labels)
    found = []
    for sha256, given in sorted(said.items()):
        reason = _reason_against(given, known)
        if reason is None and sha256 not in files:
            reason = "image not in the folder"
        if reason is not None:
            left_out[reason] += 1
            continue
        image = _copied(files[sha256], sha256, next(iter(given)), data, ask)
        if image is None:
            left_out["image cannot be read"] += 1
        else:
            found.append(image)
    if not found:
        told = ", ".join(f"{reason}: {count}" for reason, count in sorted(left_out.items())) or "the store is empty"
        raise DatasetError(f"No feedback comes to a labelled image ({told}).")
    found.sort(key=lambda image: (-image.uncertainty, image.sha256))
    write_table(table_of(data), [field.name for field in fields(LabelledImage)], found)
    return LabelledSet(found, dict(left_out))


def release(data: Path) -> int:
    """Lets the table as it is now be trained on, and returns how many images that are.

    Raises:
        DatasetError: There is no table.
    """
    count = len(_read(data))
    write_atomically(release_of(data), f"{file_sha256(table_of(data))}\n".encode())
    return count


def released_images(data: Path) -> list[LabelledImage]:
    """Returns the images of the table that a person has released; none where there is no release.

    Raises:
        DatasetError: The table has changed since its release.
    """
    if not release_of(data).is_file():
        return []
    images = _read(data)
    if release_of(data).read_text().strip() != file_sha256(table_of(data)):
        raise DatasetError(
            f"{table_of(data)} has changed since its release. Look at it, then run `python -m training feedback"
            " --release`."
        )
    return images


def read_requests(path: Path) -> dict[str, str]:
    """Reads a CSV table with the columns `request_id` and `image_sha256`.

    Raises:
        DatasetError: It lacks one of them.
    """
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if not {"request_id", "image_sha256"} <= set(reader.fieldnames or ()):
            raise DatasetError(f"{path} lacks the columns request_id and image_sha256.")
        return {row["request_id"]: row["image_sha256"] for row in reader}


def _read(data: Path) -> list[LabelledImage]:
    return read_table(table_of(data), LabelledImage, remedy="Run `python -m training feedback STORE IMAGES` first.")


def _labels_by_image(
    entries: Iterable[Mapping[str, Any]], requests: Mapping[str, str], left_out: Counter[str]
) -> dict[str, set[str]]:
    said: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        sha256 = entry.get("image_sha256") or requests.get(str(entry.get("request_id")))
        if sha256 is None:
            left_out["request of unknown image"] += 1
        else:
            said[str(sha256)].add(str(entry.get("label")))
    return said


def _reason_against(given: set[str], known: set[str]) -> str | None:
    if NOT_USABLE in given:
        return "not usable"
    if len(given) > 1:
        return "people disagree"
    return None if given <= known else "label of another model"


def _files_by_hash(folder: Path, wanted: Iterable[str]) -> dict[str, Path]:
    missing, found = set(wanted), {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (sha256 := file_sha256(path)) in missing:
            missing.discard(sha256)
            found[sha256] = path
    return found


def _copied(path: Path, sha256: str, label: str, data: Path, ask: Ask) -> LabelledImage | None:
    """Copies an image under its hash, as its own name may name a patient."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        return None
    try:
        decode(content)
        verdict, confidence = ask(content)
    except InvalidInput:
        return None
    name = f"{FEEDBACK}/{label}/{sha256}{path.suffix.lower()}"
    write_atomically(data / "sources" / name, content)
    return LabelledImage(name, label, sha256, verdict, round(1 - confidence, 6))
