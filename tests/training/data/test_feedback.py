"""Feedback as a labelled set: what comes in, in which order, and that nothing is read before its release."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from brainmri.errors import DatasetError
from brainmri.model.bundle import Bundle
from brainmri.model.contract import LABELS, NOT_USABLE
from brainmri.observe.journal import Journal
from tests.training.conftest import RULE, draw_slice, make_br35h, make_figshare
from training.cli import app
from training.data.audit import ManifestRow, audit
from training.data.feedback import (
    LabelledSet,
    collect,
    read_requests,
    release,
    released_images,
    table_of,
)
from training.data.sources import NO_PART, UNLISTED, read_sources
from training.data.split import split

CONFIDENCE = {"glioma": 0.9, "meningioma": 0.4, "notumor": 0.6, "pituitary": 0.7}


@pytest.fixture
def scans(tmp_path: Path) -> dict[str, str]:
    """One picture of each label in a folder, with the hash of its file."""
    folder = tmp_path / "scans" / "of a person"
    folder.mkdir(parents=True)
    hashes = {}
    for number, label in enumerate(LABELS):
        path = folder / f"{label}.png"
        draw_slice(label, 7000 + number).save(path)
        hashes[label] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashes


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    make_figshare(root / "sources")
    make_br35h(root / "sources")
    return root


def collected(tmp_path: Path, scans: dict[str, str], *entries: dict[str, Any], **requests: str) -> LabelledSet:
    """Collects with a model that is as sure of each picture as `CONFIDENCE` says."""
    by_hash = {sha256: label for label, sha256 in scans.items()}

    def ask(content: bytes) -> tuple[str, float]:
        return "unsure", CONFIDENCE[by_hash[hashlib.sha256(content).hexdigest()]]

    return collect(entries, tmp_path / "scans", tmp_path / "data", LABELS, requests, ask)


def says(sha256: str | None, label: str, request_id: str | None = None) -> dict[str, Any]:
    return {"image_sha256": sha256, "request_id": request_id, "label": label}


def test_the_most_uncertain_comes_first_under_its_hash_and_not_its_name(
    tmp_path: Path, scans: dict[str, str], data: Path
) -> None:
    found = collected(tmp_path, scans, *(says(scans[label], label) for label in LABELS))
    assert [image.label for image in found.images] == ["meningioma", "notumor", "pituitary", "glioma"]
    assert [image.uncertainty for image in found.images] == [0.6, 0.4, 0.3, 0.1]
    first = found.images[0]
    assert first.name == f"feedback/meningioma/{scans['meningioma']}.png"
    assert hashlib.sha256((data / "sources" / first.name).read_bytes()).hexdigest() == first.sha256
    assert "person" not in table_of(data).read_text()


def test_what_is_not_usable_disputed_missing_or_of_an_unknown_request_is_left_out(
    tmp_path: Path, scans: dict[str, str]
) -> None:
    found = collected(
        tmp_path,
        scans,
        says(scans["glioma"], "meningioma"),
        says(scans["notumor"], NOT_USABLE),
        says(scans["pituitary"], "glioma"),
        says(scans["pituitary"], "notumor"),
        says(scans["meningioma"], "stroke"),
        says("0" * 64, "glioma"),
        says(None, "glioma", "unknown"),
    )
    assert [(image.sha256, image.label) for image in found.images] == [(scans["glioma"], "meningioma")]
    assert found.left_out == {
        "not usable": 1,
        "people disagree": 1,
        "label of another model": 1,
        "image not in the folder": 1,
        "request of unknown image": 1,
    }


def test_a_request_leads_to_its_image(tmp_path: Path, scans: dict[str, str]) -> None:
    table = tmp_path / "requests.csv"
    table.write_text(f"request_id,image_sha256\nr1,{scans['glioma']}\n")
    found = collected(tmp_path, scans, says(None, "pituitary", "r1"), **read_requests(table))
    assert [(image.sha256, image.label) for image in found.images] == [(scans["glioma"], "pituitary")]


def test_nothing_to_learn_from_is_an_error(tmp_path: Path, scans: dict[str, str]) -> None:
    with pytest.raises(DatasetError, match="not usable: 1"):
        collected(tmp_path, scans, says(scans["glioma"], NOT_USABLE))


def names(rows: list[ManifestRow]) -> set[str]:
    return {row.name for row in rows if row.source == "feedback"}


def test_nothing_is_read_before_a_release_nor_after_a_change(tmp_path: Path, scans: dict[str, str], data: Path) -> None:
    collected(tmp_path, scans, says(scans["glioma"], "glioma"))
    assert released_images(data) == []
    assert not any(image.source == "feedback" for image in read_sources(data))
    assert release(data) == 1
    (image,) = (image for image in read_sources(data) if image.source == "feedback")
    assert (image.label, image.part) == ("glioma", UNLISTED)
    collected(tmp_path, scans, says(scans["glioma"], "meningioma"))
    with pytest.raises(DatasetError, match="changed since its release"):
        read_sources(data)


def test_the_split_takes_released_images(tmp_path: Path, scans: dict[str, str], data: Path) -> None:
    collected(tmp_path, scans, says(scans["notumor"], "notumor"))
    release(data)
    rows = audit(data, read_sources(data))
    (name,) = names(rows)
    (row,) = (row for row in split(rows, RULE) if row.name == name)
    assert row.label == "notumor"
    assert row.subset in {"train", "validation", "test"}


def test_too_few_new_images_of_a_label_for_three_parts_are_trained_on(
    tmp_path: Path, scans: dict[str, str], data: Path
) -> None:
    collected(tmp_path, scans, says(scans["notumor"], "notumor"))
    release(data)
    rows = [row for row in audit(data, read_sources(data)) if row.source == "feedback"]
    (row,) = split(rows, RULE)
    assert (row.part, row.subset) == (NO_PART, "train")


def test_the_command_collects_from_a_store_and_releases_by_a_flag(
    tmp_path: Path, scans: dict[str, str], tiny_bundle: Bundle
) -> None:
    store, data = tmp_path / "store", tmp_path / "data"
    Journal(store, 100_000, "refuse").append(says(scans["glioma"], "meningioma"))
    options = ["--data", str(data)]
    collecting = ["feedback", str(store), str(tmp_path / "scans"), "--bundle", str(tiny_bundle.folder), *options]
    runner = CliRunner()
    assert runner.invoke(app, collecting).exit_code == 0
    assert released_images(data) == []
    assert runner.invoke(app, ["feedback", str(store), "--release", *options]).exit_code == 2
    assert runner.invoke(app, ["feedback", *options]).exit_code == 2
    assert runner.invoke(app, ["feedback", "--release", *options]).exit_code == 0
    assert [(image.label, image.sha256) for image in released_images(data)] == [("meningioma", scans["glioma"])]
