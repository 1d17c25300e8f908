import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainmri.errors import DatasetError
from training.data.dataset import find_dataset
from training.data.near.altered import altered_images
from training.data.near.image import NearImage
from training.data.near.manifest import MANIFEST, NearRow, build_near_set, freeze
from training.data.split import SplitRow
from training.data.tables import read_table


def rows_of(dataset: Path) -> list[SplitRow]:
    folder = find_dataset(dataset)
    names = (path.relative_to(folder).as_posix() for path in sorted((folder / "Testing").rglob("*.png")))
    return [of_testing(name) for name in names]


def of_testing(name: str) -> SplitRow:
    return SplitRow(
        f"brain-mri/{name}", "nickparvar", name.split("/")[1], "", name, "test", "test", "Testing", False, 0, 0, 0, 0
    )


def test_what_packages_carry_and_code_draws_is_as_frozen(tmp_path: Path) -> None:
    near = build_near_set(tmp_path)
    assert near.differing == []
    assert len(near.images) == 146
    # Only those made of slices are missing where there is no dataset.
    assert {name.split("/")[0] for name in near.missing} == {"inverted", "shuffled", "drowned", "sheet"}


@pytest.mark.data
def test_the_whole_near_set_is_as_frozen(brain_mri_data: Path) -> None:
    near = build_near_set(find_dataset(brain_mri_data))
    assert (near.missing, near.differing) == ([], [])
    assert len(near.images) == 206


def test_the_manifest_names_each_image_once_and_covers_what_was_asked_for() -> None:
    rows = read_table(MANIFEST, NearRow, remedy="")
    assert len({row.name for row in rows}) == len({row.sha256 for row in rows}) == len(rows) == 206
    assert {row.kind for row in rows if row.origin == "real"} == {
        "ct", "ct_map", "other_mri", "xray", "ultrasound", "bone_scan", "test_pattern",
    }  # fmt: skip
    assert {"document", "blank", "noise", "inverted", "phantom"} <= {row.kind for row in rows}
    assert all(bool(row.slices) == (row.origin == "altered") for row in rows)


def test_another_pixel_is_told(dataset: Path, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(dataset, copy)
    folder, manifest = find_dataset(copy), tmp_path / "manifest.csv"
    freeze(folder, rows_of(copy), manifest)
    whole = build_near_set(folder, manifest)
    assert (whole.missing, whole.differing) == ([], [])
    victim = next(row for row in read_table(manifest, NearRow, remedy="") if row.kind == "inverted")
    with Image.open(folder / victim.slices) as image:
        Image.fromarray(np.asarray(image) ^ 1).save(folder / victim.slices)
    altered = build_near_set(folder, manifest)
    assert victim.name in altered.differing
    assert altered.manifest_sha256 == whole.manifest_sha256


def test_freezing_again_changes_nothing(dataset: Path, tmp_path: Path) -> None:
    folder = find_dataset(dataset)
    first = freeze(folder, rows_of(dataset), tmp_path / "a.csv")
    assert freeze(folder, rows_of(dataset), tmp_path / "b.csv") == first


def test_altered_images_are_never_made_of_other_parts_than_test_nor_of_other_sources(
    dataset: Path, tmp_path: Path
) -> None:
    parts = ("test", "train", "test", "validation", "test", "none")
    marked = [replace(row, part=parts[number % len(parts)]) for number, row in enumerate(rows_of(dataset))]
    foreign = [replace(row, source="figshare") for row in marked]
    freeze(find_dataset(dataset), [*marked * 3, *foreign], tmp_path / "m.csv")
    used = {n for row in read_table(tmp_path / "m.csv", NearRow, remedy="") for n in row.slices.split("|") if n}
    allowed = {row.name.removeprefix("brain-mri/") for row in marked if row.part == "test"}
    assert len(used) >= 4
    assert used <= allowed


def test_a_missing_manifest_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="Restore it from the repository"):
        build_near_set(tmp_path, tmp_path / "none.csv")


SLICE = np.arange(256 * 256, dtype=np.uint32).reshape(256, 256).astype(np.uint8)


def test_inverting_turns_every_grey_level_around() -> None:
    assert np.array_equal(altered_images("inverted", 0, [SLICE]).pixels, 255 - SLICE)


def test_shuffling_keeps_the_pixels_and_moves_tiles() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (256, 256), dtype=np.uint8)
    shuffled = altered_images("shuffled", 1, [picture]).pixels
    assert np.array_equal(np.sort(shuffled.ravel()), np.sort(picture.ravel()))
    assert not np.array_equal(shuffled, picture)
    tiles = {shuffled[r : r + 64, c : c + 64].tobytes() for r in range(0, 256, 64) for c in range(0, 256, 64)}
    assert picture[:64, :64].tobytes() in tiles


def test_noise_drowns_four_fifths_of_a_slice() -> None:
    black, white = (
        altered_images("drowned", 0, [np.full((256, 256), level, np.uint8)]).pixels.astype(int) for level in (0, 255)
    )
    assert (white - black).mean() == pytest.approx(0.2 * 255, abs=1)


def test_a_sheet_shows_four_slices() -> None:
    levels = [np.full((256, 256), level, np.uint8) for level in (10, 20, 30, 40)]
    sheet = altered_images("sheet", 0, levels).pixels
    assert [sheet[100, 100], sheet[100, 400], sheet[400, 100], sheet[400, 400]] == [10, 20, 30, 40]


def test_the_hash_depends_on_shape_and_pixels() -> None:
    def of(pixels: np.ndarray) -> str:
        return NearImage("a", "blank", "drawn", pixels).sha256

    flat = np.zeros((4, 8), np.uint8)
    assert of(flat) == of(flat.copy())
    assert of(flat) != of(flat.reshape(8, 4))
    assert of(flat) != of(flat + 1)
