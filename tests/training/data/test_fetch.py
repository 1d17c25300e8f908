"""The sources as they are published become what `read_sources` reads; figshare's files are made here."""

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from brainmri.errors import DatasetError
from training.data.audit import audit
from training.data.fetch import fetch_br35h, fetch_source
from training.data.fetch_figshare import convert_figshare, read_mat
from training.data.sources import UNLISTED, read_sources


def write_mat(path: Path, *, label: int = 2, patient: str = "MR048294B", mask: bool = True) -> None:
    """A slice of 40 rows and 60 columns with values from 100 to 1100, brightest in rows 10 to 19, columns 30 to 44."""
    image, tumour = np.full((40, 60), 100, np.int16), np.zeros((40, 60), np.uint8)
    image[10:20, 30:45] = 1100
    image[30:, :10] = 600
    tumour[10:20, 30:45] = mask
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        # As MATLAB stores matrices: columns first.
        file["cjdata/image"], file["cjdata/tumorMask"] = image.T, tumour.T
        file["cjdata/label"] = np.array([[float(label)]])
        file["cjdata/PID"] = np.array([[ord(letter)] for letter in patient], np.uint16)


def test_a_mat_file_is_read_upright_in_grey_from_darkest_to_brightest(tmp_path: Path) -> None:
    write_mat(tmp_path / "7.mat")
    found = read_mat(tmp_path / "7.mat")
    assert found.pixels.shape == (40, 60)
    assert (found.pixels[15, 35], found.pixels[35, 5], found.pixels[0, 0]) == (255, 128, 0)
    assert found.label == "glioma"
    assert (found.patient, found.person) == ("MR048294B", "MR048294")
    # Columns 30 to 45 of 60, rows 10 to 20 of 40.
    assert found.box == pytest.approx((37.5 / 60, 15 / 40, 15 / 60, 10 / 40))


@pytest.mark.parametrize(("label", "name"), [(1, "meningioma"), (2, "glioma"), (3, "pituitary")])
def test_the_numbers_of_labels_are_those_of_the_author(tmp_path: Path, label: int, name: str) -> None:
    write_mat(tmp_path / "1.mat", label=label)
    assert read_mat(tmp_path / "1.mat").label == name


def test_figshare_is_converted_to_what_the_sources_read(tmp_path: Path) -> None:
    write_mat(tmp_path / "mat" / "part 1" / "9.mat", label=1, patient="100360")
    write_mat(tmp_path / "mat" / "part 2" / "10.mat", label=3, mask=False)
    table = fetch_source("figshare", tmp_path / "data", tmp_path / "mat")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image_id"], row["label"], row["patient_id"], row["person_id"]) for row in rows] == [
        ("9", "meningioma", "100360", "100360"),
        ("10", "pituitary", "MR048294B", "MR048294"),
    ]
    images = {image.slice: image for image in read_sources(tmp_path / "data")}
    assert images["9"].name == "sources/figshare/meningioma/9.jpg"
    assert images["9"].box is not None
    assert images["9"].box.values() == pytest.approx((0.5, 0.25, 0.75, 0.5))
    assert (images["10"].box, images["10"].person) == (None, "MR048294")
    with Image.open(tmp_path / "data" / images["9"].name) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "L", (60, 40))
        pixels = np.asarray(image).astype(int)
    assert abs(pixels[15, 37] - 255) <= 3
    assert abs(pixels[35, 3] - 128) <= 3
    assert all(not row.error for row in audit(tmp_path / "data", read_sources(tmp_path / "data")))


def test_a_folder_that_was_converted_before_is_linked(tmp_path: Path) -> None:
    write_mat(tmp_path / "mat" / "9.mat")
    convert_figshare(tmp_path / "mat", tmp_path / "done")
    table = fetch_source("figshare", tmp_path / "data", tmp_path / "done")
    assert table.resolve() == (tmp_path / "done" / "figshare.csv").resolve()
    assert fetch_source("figshare", tmp_path / "data", tmp_path / "done") == table
    assert [image.slice for image in read_sources(tmp_path / "data")] == ["9"]


def test_figshare_without_a_folder_or_without_files_names_the_address(tmp_path: Path) -> None:
    for local in (None, tmp_path):
        with pytest.raises(DatasetError, match=r"figshare\.com/articles/dataset/brain_tumor_dataset/1512427"):
            fetch_source("figshare", tmp_path / "data", local)


def test_a_damaged_file_is_named_and_leaves_no_table(tmp_path: Path) -> None:
    write_mat(tmp_path / "mat" / "1.mat")
    (tmp_path / "mat" / "2.mat").write_bytes(b"not HDF5")
    with pytest.raises(DatasetError, match=r"2\.mat is not a slice"):
        fetch_source("figshare", tmp_path / "data", tmp_path / "mat")
    assert not (tmp_path / "data" / "sources" / "figshare.csv").exists()


def test_an_unknown_label_is_refused(tmp_path: Path) -> None:
    write_mat(tmp_path / "1.mat", label=4)
    with pytest.raises(DatasetError, match=r"1\.mat has the label 4"):
        read_mat(tmp_path / "1.mat")


def test_files_of_the_same_name_are_refused(tmp_path: Path) -> None:
    write_mat(tmp_path / "a" / "1.mat")
    write_mat(tmp_path / "b" / "1.mat")
    with pytest.raises(DatasetError, match="of the same name"):
        convert_figshare(tmp_path, tmp_path / "sources")


def test_what_was_fetched_is_not_written_over(tmp_path: Path) -> None:
    write_mat(tmp_path / "mat" / "1.mat")
    fetch_source("figshare", tmp_path / "data", tmp_path / "mat")
    with pytest.raises(DatasetError, match="already exists"):
        fetch_source("figshare", tmp_path / "data", tmp_path / "mat")


def make_br35h(folder: Path) -> None:
    for name in ("no", "yes", "pred"):
        (folder / name).mkdir(parents=True)
        for number in range(2):
            Image.new("L", (32, 32), 50 * number).save(folder / name / f"{name}{number}.jpg")
    (folder / "no" / "notes.txt").write_text("not an image")


def test_br35h_is_taken_with_its_folders_no_and_yes(tmp_path: Path) -> None:
    make_br35h(tmp_path / "kaggle")
    fetch_br35h(tmp_path / "data", tmp_path / "kaggle")
    images = read_sources(tmp_path / "data")
    assert [(image.name, image.label) for image in images] == [
        ("sources/br35h/notumor/no0.jpg", "notumor"),
        ("sources/br35h/notumor/no1.jpg", "notumor"),
        ("sources/br35h/tumour/yes0.jpg", "tumour"),
        ("sources/br35h/tumour/yes1.jpg", "tumour"),
    ]
    # Nothing is published about them: the split assigns them by what they look like.
    assert {image.part for image in images} == {UNLISTED}
    assert all((tmp_path / "data" / image.name).is_file() for image in images)


def test_br35h_with_a_table_is_linked(dataset: Path, tmp_path: Path) -> None:
    table = fetch_source("br35h", tmp_path / "data", dataset / "sources")
    assert table.read_text() == (dataset / "sources" / "br35h.csv").read_text()
    assert len(read_sources(tmp_path / "data")) == 24


def test_a_folder_without_br35h_names_what_to_download(tmp_path: Path) -> None:
    (tmp_path / "no").mkdir()
    with pytest.raises(DatasetError, match="ahmedhamada0/brain-tumor-detection"):
        fetch_br35h(tmp_path / "data", tmp_path)


def test_an_unknown_source_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="Known: nickparvar, figshare, br35h"):
        fetch_source("oasis", tmp_path)
