from pathlib import Path

import numpy as np
import pytest

from brainmri.imaging import decode, to_tensor
from brainmri.model.contract import LABELS
from training.data.arrays import Arrays, build_arrays
from training.data.dataset import find_dataset


def test_training_and_serving_see_the_same_tensor(arrays: Arrays, dataset: Path) -> None:
    for number in range(0, len(arrays.rows), 9):
        served = to_tensor(decode((find_dataset(dataset) / arrays.rows[number].name).read_bytes()))
        assert np.array_equal(arrays.pixels[number], served)


def test_labels_and_groups_follow_the_rows(arrays: Arrays) -> None:
    assert [LABELS[label] for label in arrays.labels] == [row.label for row in arrays.rows]
    assert arrays.groups.tolist() == [row.group for row in arrays.rows]
    assert {row.subset for row in (arrays.rows[i] for i in arrays.subset("holdout"))} == {"holdout"}


def test_images_are_decoded_once_and_again_for_another_split(
    arrays: Arrays, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = arrays.rows[:5]
    calls: list[int] = []

    def counting(pixels: np.ndarray) -> np.ndarray:
        calls.append(1)
        return to_tensor(pixels)

    monkeypatch.setattr("training.data.arrays.to_tensor", counting)
    folder = find_dataset(dataset)
    build_arrays(folder, rows, "1" * 64, tmp_path)
    build_arrays(folder, rows, "1" * 64, tmp_path)
    assert len(calls) == 5
    build_arrays(folder, rows, "2" * 64, tmp_path)
    assert len(calls) == 10
