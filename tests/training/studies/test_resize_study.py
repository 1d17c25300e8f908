from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainmri.imaging import decode, to_tensor
from brainmri.model.runtimes.protocol import Output, RuntimeInfo
from training.data.arrays import Arrays
from training.data.dataset import find_dataset
from training.studies.resize_study import crop_to_head, pad, stretch, study


@pytest.mark.parametrize("name", ["Training/glioma/Tr-gl_0003.png", "Testing/notumor/near.jpg"])
def test_padding_with_the_bilinear_filter_is_the_rule_of_serving(dataset: Path, name: str) -> None:
    pixels = decode((find_dataset(dataset) / name).read_bytes())
    assert np.array_equal(pad(pixels, Image.Resampling.BILINEAR), to_tensor(pixels))
    assert np.array_equal(pad(pixels[:40], Image.Resampling.BILINEAR), to_tensor(pixels[:40]))


def test_stretching_fills_the_square() -> None:
    assert stretch(np.full((50, 100), 255, np.uint8), Image.Resampling.BILINEAR).min() == 255


def test_padding_keeps_the_proportions_and_centres() -> None:
    padded = pad(np.full((50, 100), 255, np.uint8), Image.Resampling.BILINEAR)
    filled = padded.max(axis=2).max(axis=1)
    assert padded.shape == (299, 299, 3)
    assert np.flatnonzero(filled).tolist() == list(range(74, 224))


def test_cropping_finds_the_bright_rectangle() -> None:
    pixels = np.zeros((100, 80), np.uint8)
    pixels[10:60, 20:55] = 200
    assert np.array_equal(crop_to_head(pixels), pixels[10:60, 20:55])


def test_a_dark_image_is_not_cropped() -> None:
    pixels = np.full((40, 40, 3), 5, np.uint8)
    assert crop_to_head(pixels) is pixels


class MeanLevel:
    """Knows the label of the generated slices from the mean of what is not black."""

    info = RuntimeInfo("test", "f32", 1)

    def infer(self, images: np.ndarray) -> Output:
        levels = np.array([image[image > 10].mean() for image in images])
        distance = np.abs(levels[:, None] - np.array([50, 100, 150, 200]))
        return Output((-distance).astype(np.float32), np.zeros((len(images), 1), np.float32))


def test_the_study_has_a_row_for_every_combination(arrays: Arrays, dataset: Path) -> None:
    rows = study(MeanLevel(), 10.0, arrays, find_dataset(dataset))
    assert len(rows) == 16
    assert {(row["images"], row["rule"]) for row in rows} == {
        (images, rule) for images in ("as supplied", "cropped to the head") for rule in ("stretch", "pad")
    }
    supplied = {row["filter"]: row["macro_f1"] for row in rows[:4]}
    assert supplied["bilinear"] == 1.0
