from pathlib import Path

import numpy as np

from brainmri.imaging import to_tensor
from brainmri.model.bundle import Bundle
from training.data.arrays import Arrays
from training.data.dataset import find_dataset
from training.release.outputs import Outputs
from training.release.sharpness import describe_sharper, enlarge


def test_enlarging_keeps_proportions_and_content() -> None:
    pixels = np.zeros((100, 200), np.uint8)
    pixels[:, 100:] = 200
    larger = enlarge(pixels, sharpen=False)
    assert larger.shape == (256, 512)
    assert np.abs(to_tensor(larger).astype(int) - to_tensor(pixels)).mean() < 3


def test_sharpening_steepens_an_edge() -> None:
    pixels = np.full((224, 224), 60, np.uint8)
    pixels[:, 112:] = 160
    plain, sharp = (enlarge(pixels, sharpen=choice).astype(int) for choice in (False, True))
    assert np.abs(np.diff(sharp[256])).max() > np.abs(np.diff(plain[256])).max()
    assert abs(sharp.mean() - plain.mean()) < 1


def test_a_network_of_mean_colours_does_not_mind_a_sharper_input(
    tiny_bundle: Bundle, arrays: Arrays, dataset: Path
) -> None:
    result = describe_sharper(Outputs(tiny_bundle, 1), arrays, find_dataset(dataset))
    assert result["images"] == len(arrays.subset("holdout"))
    for name in ("enlarged", "enlarged_and_sharpened"):
        assert result[name] == {"label_flips": 0.0, "accuracy": result["accuracy"]}
