"""Tests of the images that are sent."""

import io
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.pictures import damaged, pictures
from brainmri.errors import ImageUnreadable
from brainmri.imaging import decode
from brainmri.model.contract import LABELS


def sizes(images: list[bytes]) -> set[tuple[int, int]]:
    return {Image.open(io.BytesIO(image)).size for image in images}


def test_drawn_images_differ_are_the_same_each_time_and_have_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRAINMRI_DATA", raising=False)
    source, images = pictures(5, 64)
    assert source == "drawn, 64 px"
    assert len(set(images)) == 5
    assert sizes(images) == {(64, 64)}
    assert pictures(5, 64)[1] == images


def folder_of_slices(folder: Path) -> Path:
    for number, label in enumerate(LABELS):
        (folder / "brain-mri" / "Testing" / label).mkdir(parents=True)
        for index in range(3):
            image = Image.new("L", (40, 20), number * 60 + index)
            image.save(folder / "brain-mri" / "Testing" / label / f"{index}.jpg")
    return folder


def test_slices_of_every_class_are_sent_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINMRI_DATA", str(folder_of_slices(tmp_path)))
    source, images = pictures(8, 40)
    assert source == "slices of the test set, 40 px"
    testing = tmp_path / "brain-mri" / "Testing"
    assert set(images) <= {path.read_bytes() for path in testing.rglob("*.jpg")}
    assert [
        sum(image == path.read_bytes() for image in images for path in (testing / label).iterdir()) for label in LABELS
    ] == [2] * 4


def test_slices_are_enlarged_in_proportion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINMRI_DATA", str(folder_of_slices(tmp_path)))
    assert sizes(pictures(4, 100)[1]) == {(100, 50)}


def test_too_few_slices_are_a_clear_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINMRI_DATA", str(folder_of_slices(tmp_path)))
    with pytest.raises(SystemExit, match="holds too few slices: 12, and 40 are needed"):
        pictures(40, 40)


def test_damaged_images_are_refused_by_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRAINMRI_DATA", raising=False)
    for image in damaged(pictures(4, 224)[1]):
        with pytest.raises(ImageUnreadable):
            decode(image)
