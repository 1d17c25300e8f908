import hashlib
from pathlib import Path

import pytest

from brainmri.errors import DatasetError
from training.data.audit import ManifestRow, audit, leaking_names, read_manifest, report, summarise, write_manifest
from training.data.sources import SourceImage, read_sources


def by_name(rows: list[ManifestRow]) -> dict[str, ManifestRow]:
    return {row.name.removeprefix("brain-mri/"): row for row in rows}


def test_only_the_planted_leaks_into_testing_are_found(manifest: list[ManifestRow]) -> None:
    assert leaking_names(manifest) == {"brain-mri/Testing/glioma/exact.png", "brain-mri/Testing/notumor/near.jpg"}


def test_near_duplicates_share_a_number(manifest: list[ManifestRow]) -> None:
    names = by_name(manifest)
    blurred, original = names["Training/glioma/Tr-glTr_9999.jpg"], names["Training/glioma/Tr-gl_0000.png"]
    assert blurred.duplicates == original.duplicates
    assert blurred.upright_duplicates == original.upright_duplicates


def test_a_mirrored_copy_is_a_near_duplicate_that_no_upright_comparison_finds(manifest: list[ManifestRow]) -> None:
    names = by_name(manifest)
    mirrored, original = names["Training/meningioma/mirrored.png"], names["Training/meningioma/Tr-me_0002.png"]
    assert mirrored.duplicates == original.duplicates
    assert mirrored.upright_duplicates != original.upright_duplicates


def test_an_unreadable_file_is_listed_with_its_reason_and_has_no_number(manifest: list[ManifestRow]) -> None:
    row = by_name(manifest)["Training/pituitary/broken.jpg"]
    assert row.error
    assert (row.duplicates, row.width, row.height) == (-1, 0, 0)


def test_a_file_that_cannot_be_opened_is_a_row_too(tmp_path: Path) -> None:
    gone = SourceImage("gone.jpg", "br35h", "notumor", "", "1", "", False, "train", "", None)
    (row,) = audit(tmp_path, [gone])
    assert "No such file" in row.error
    assert (row.sha256, row.bytes, row.duplicates) == ("", 0, -1)


def test_the_summary_counts_what_was_planted(manifest: list[ManifestRow]) -> None:
    summary = summarise(manifest)
    assert summary["images"] == 85 + 36 + 24
    assert summary["persons"] == 18
    assert summary["boxes"] == 36 + 8
    assert summary["found_only_mirrored_or_turned"] == {"br35h": 16, "nickparvar": 2}
    assert summary["given"] == {
        "testing_images": 18,
        "exact_copies": 1,
        "near_duplicates": 2,
        "near_duplicates_in_any_position": 2,
        "with_a_person_of_training": 0,
        "leaking": 2,
    }
    assert list(summary["unreadable"]) == ["brain-mri/Training/pituitary/broken.jpg"]
    assert "broken.jpg" in report(summary)


def test_a_manifest_is_read_as_it_was_written_and_hashed(manifest: list[ManifestRow], tmp_path: Path) -> None:
    path = tmp_path / "deep" / "manifest.csv"
    sha256 = write_manifest(path, manifest)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_manifest(path) == manifest


def test_a_missing_or_foreign_manifest_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="training audit"):
        read_manifest(tmp_path / "manifest.csv")
    (tmp_path / "manifest.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match=r"columns \['a', 'b'\]"):
        read_manifest(tmp_path / "manifest.csv")


@pytest.mark.data
def test_every_image_of_the_real_sources_is_known_with_its_person_or_group(brain_mri_data: Path) -> None:
    images = read_sources(brain_mri_data)
    assert {source: sum(i.source == source for i in images) for source in ("figshare", "nickparvar", "br35h")} == {
        "figshare": 3064,
        "nickparvar": 6617,
        "br35h": 1753,
    }
    assert len({image.person for image in images if image.person}) == 209
    assert sum(image.mirrored for image in images) > 1400
    assert sum(image.part == "none" for image in images) == 272
    assert all(image.part != "unlisted" for image in images)
