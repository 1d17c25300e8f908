from pathlib import Path

import pytest
from PIL import Image

from brainmri.errors import DatasetError
from training.data.dataset import canonical_label, find_dataset, list_slices
from training.data.fetch import fetch_dataset


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("glioma", "glioma"),
        ("Glioma_Tumor", "glioma"),
        ("No Tumor", "notumor"),
        ("no_tumor", "notumor"),
        ("NOTUMOR", "notumor"),
        ("meningioma-tumor", "meningioma"),
        ("Pituitary", "pituitary"),
        ("schwannoma", None),
    ],
)
def test_folder_names_are_read_in_their_spelling_variants(folder: str, label: str | None) -> None:
    assert canonical_label(folder) == label


def write_layout(root: Path, folders: list[str]) -> None:
    for part in ("Training", "Testing"):
        for folder in folders:
            (root / part / folder).mkdir(parents=True)
            Image.new("L", (32, 32), 7).save(root / part / folder / "a.PNG")


def test_slices_carry_name_part_label_and_source(dataset: Path) -> None:
    slices = {item.name: item for item in list_slices(dataset)}
    assert len(slices) == 85
    assert slices["Training/glioma/Tr-glTr_9999.jpg"].source == "sartaj"
    assert slices["Testing/notumor/near.jpg"].label == "notumor"
    assert slices["Testing/notumor/near.jpg"].part == "Testing"
    assert list(slices) == sorted(slices)


def test_spelling_variants_and_upper_case_suffixes_are_listed(tmp_path: Path) -> None:
    write_layout(tmp_path, ["Glioma", "Meningioma_Tumor", "No Tumor", "pituitary"])
    assert {item.label for item in list_slices(tmp_path)} == {"glioma", "meningioma", "notumor", "pituitary"}


def test_an_unknown_class_folder_is_refused_by_name(tmp_path: Path) -> None:
    write_layout(tmp_path, ["glioma", "meningioma", "notumor", "pituitary", "schwannoma"])
    with pytest.raises(DatasetError, match="schwannoma spells none of the labels"):
        list_slices(tmp_path)


def test_a_label_without_images_is_refused_by_name(tmp_path: Path) -> None:
    write_layout(tmp_path, ["glioma", "meningioma", "notumor"])
    with pytest.raises(DatasetError, match="holds no images of pituitary"):
        list_slices(tmp_path)


def test_a_folder_without_the_layout_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="training fetch"):
        find_dataset(tmp_path)


def test_fetch_links_a_local_folder_once(dataset: Path, tmp_path: Path) -> None:
    linked = fetch_dataset(tmp_path / "out", local=dataset)
    assert linked == tmp_path / "out" / "brain-mri"
    assert linked.resolve() == (dataset / "brain-mri").resolve()
    assert fetch_dataset(tmp_path / "out", local=dataset) == linked


def test_fetch_does_not_replace_another_dataset(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "brain-mri").mkdir()
    with pytest.raises(DatasetError, match="already exists"):
        fetch_dataset(tmp_path, local=dataset)


def test_a_failed_download_names_the_flag_for_a_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: str) -> str:
        raise ConnectionError(f"no network for {handle}")

    kagglehub = pytest.importorskip("kagglehub")
    monkeypatch.setattr(kagglehub, "dataset_download", refuse)
    with pytest.raises(DatasetError, match=r"ConnectionError.*--local"):
        fetch_dataset(tmp_path)


def test_fetch_takes_what_kagglehub_downloaded(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kagglehub = pytest.importorskip("kagglehub")
    asked: list[str] = []

    def download(handle: str) -> str:
        asked.append(handle)
        return str(dataset)

    monkeypatch.setattr(kagglehub, "dataset_download", download)
    assert fetch_dataset(tmp_path).resolve() == (dataset / "brain-mri").resolve()
    assert asked == ["masoudnickparvar/brain-tumor-mri-dataset"]
