import hashlib
from pathlib import Path

import pytest

from brainmri.errors import DatasetError
from training.data.audit import ManifestRow, audit, read_manifest, report, summarise, write_manifest
from training.data.dataset import SliceFile, list_slices


@pytest.fixture(scope="module")
def rows(dataset: Path) -> list[ManifestRow]:
    return audit(list_slices(dataset))


def by_name(rows: list[ManifestRow]) -> dict[str, ManifestRow]:
    return {row.name: row for row in rows}


def test_an_exact_copy_in_testing_is_an_exact_leak(rows: list[ManifestRow]) -> None:
    row = by_name(rows)["Testing/glioma/exact.png"]
    assert row.exact_leak
    assert row.leak


def test_a_resaved_copy_in_testing_is_a_near_leak_only(rows: list[ManifestRow]) -> None:
    row = by_name(rows)["Testing/notumor/near.jpg"]
    assert not row.exact_leak
    assert row.leak


def test_only_the_planted_leaks_are_found(rows: list[ManifestRow]) -> None:
    assert [row.name for row in rows if row.leak] == ["Testing/glioma/exact.png", "Testing/notumor/near.jpg"]


def test_near_duplicates_share_a_group(rows: list[ManifestRow]) -> None:
    names = by_name(rows)
    assert names["Training/glioma/Tr-glTr_0000.jpg"].group == names["Training/glioma/Tr-gl_0000.png"].group


def test_an_unreadable_file_is_listed_with_its_reason_and_has_no_group(rows: list[ManifestRow]) -> None:
    row = by_name(rows)["Training/pituitary/broken.jpg"]
    assert row.error
    assert (row.group, row.width, row.height) == (-1, 0, 0)


def test_a_file_that_cannot_be_opened_is_a_row_too(tmp_path: Path) -> None:
    path = tmp_path / "gone.jpg"
    (row,) = audit([SliceFile(path, "Training/glioma/gone.jpg", "Training", "glioma", "merged")])
    assert "No such file" in row.error
    assert (row.sha256, row.bytes, row.group) == ("", 0, -1)


def test_the_summary_counts_what_was_planted(rows: list[ManifestRow]) -> None:
    summary = summarise(rows)
    assert summary["images"] == 84
    assert summary["testing_exact_leaks"] == 1
    assert summary["testing_near_leaks"] == 2
    assert summary["testing_near_leaks_per_label"] == {"glioma": 1, "meningioma": 0, "notumor": 1, "pituitary": 0}
    assert summary["groups"] == 80
    assert summary["groups_with_two_labels"] == 0
    assert summary["sizes"] == {"96x96": 83}
    assert list(summary["unreadable"]) == ["Training/pituitary/broken.jpg"]  # type: ignore[call-overload]
    assert "broken.jpg" in report(summary)


def test_a_manifest_is_read_as_it_was_written_and_hashed(rows: list[ManifestRow], tmp_path: Path) -> None:
    path = tmp_path / "deep" / "manifest.csv"
    sha256 = write_manifest(path, rows)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_manifest(path) == rows


def test_a_missing_or_foreign_manifest_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="training audit"):
        read_manifest(tmp_path / "manifest.csv")
    (tmp_path / "manifest.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match=r"columns \['a', 'b'\]"):
        read_manifest(tmp_path / "manifest.csv")


@pytest.mark.data
def test_the_real_dataset_leaks_as_published(brain_mri_data: Path) -> None:
    summary = summarise(audit(list_slices(brain_mri_data)))
    assert summary["images"] == 6617
    assert summary["testing_exact_leaks"] == 216
    assert abs(int(str(summary["testing_near_leaks"])) - 477) <= 5
    assert summary["groups_with_two_labels"] == 0
    assert summary["unreadable"] == {}
