"""Datasets with labels of their own."""

from pathlib import Path

import pytest
from PIL import Image

from brainmri.errors import DatasetError
from brainmri.model.contract import RELEASED_CLASSES, Classes
from training.data.own import read_classes, read_labels, write_classes
from training.data.sources import read_sources

SAID = "labels: [healthy, grade_2]\nno_tumor: healthy\nfolders: {Kontrolle: healthy}\n"


def dataset(root: Path, *folders: str, labels: str = SAID) -> Path:
    for folder in folders:
        (root / "brain-mri" / folder).mkdir(parents=True)
        Image.new("L", (8, 8)).save(root / "brain-mri" / folder / "a.png")
    (root / "brain-mri" / "labels.yaml").write_text(labels)
    return root


@pytest.mark.parametrize("folders", [("Kontrolle", "Grade 2"), ("Training/Kontrolle", "Testing/grade-2")])
def test_folders_are_mapped_to_own_labels(tmp_path: Path, folders: tuple[str, ...]) -> None:
    images = read_sources(dataset(tmp_path, *folders))
    assert {(image.name.split("/")[-2], image.label, image.source) for image in images} == {
        (folders[0].rpartition("/")[2], "healthy", "own"),
        (folders[1].rpartition("/")[2], "grade_2", "own"),
    }


def test_persons_come_from_a_table_beside_the_labels(tmp_path: Path) -> None:
    root = dataset(tmp_path, "healthy", "grade_2")
    (root / "brain-mri" / "persons.csv").write_text("name,person\nhealthy/a.png,p1\n")
    assert {image.label: image.person for image in read_sources(root)} == {"healthy": "p1", "grade_2": ""}


def test_an_unknown_folder_is_said_with_the_way_to_map_it(tmp_path: Path) -> None:
    root = dataset(tmp_path, "healthy", "grade_2", "WHO III")
    with pytest.raises(DatasetError) as caught:
        read_sources(root)
    assert "WHO III names none of the labels healthy, grade_2" in caught.value.message
    assert f'map it in {root / "brain-mri" / "labels.yaml"}: `folders: {{"WHO III": healthy}}`' in caught.value.message


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("labels: [one]", "at least 2 items"),
        ("labels: [one, one]", "names a label twice"),
        ("labels: [one, unsure]", "unsure cannot be a label"),
        ("labels: [one, two]\nno_tumor: three", "uses 'three', which its `labels` do not name"),
        ("labels: [one, two]\nfolder: {}", "Extra inputs"),
        ("labels: [one, two]", "holds no images of two"),
    ],
)
def test_a_bad_labels_file_is_refused(tmp_path: Path, labels: str, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        read_sources(dataset(tmp_path, "one", labels=labels))


def test_a_workspace_remembers_labels_until_the_released_ones_come_back(tmp_path: Path) -> None:
    path, own = tmp_path / "labels.json", Classes(("a", "b"), None)
    write_classes(path, own)
    assert read_classes(path) == own
    write_classes(path, RELEASED_CLASSES)
    assert read_classes(path) == RELEASED_CLASSES
    assert read_labels(tmp_path) is None
