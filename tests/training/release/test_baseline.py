import numpy as np
import pytest

from brainmri.model.contract import LABELS
from tests.training.fit.pictures import row
from training.data.slices import Slices, as_slices
from training.release.baseline import describe_baseline, outline_features


def test_features_are_levels_of_grey_and_the_outline_of_what_is_bright() -> None:
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[20:60, 30:80] = 100
    features = outline_features(pixels)
    # A fifth of the pixels are bright: the median is black, the 95th percentile is not.
    assert features[:7].tolist() == [0, 0, 0, 0, 0, 100, 100]
    assert features[7:10] == pytest.approx([20, 40, 0.2])
    assert features[10:].tolist() == [20, 59, 30, 79]


def test_a_black_picture_has_features() -> None:
    assert outline_features(np.zeros((50, 50, 3), np.uint8)).tolist() == [0.0] * 14


def painted(levels: dict[str, int], *, flipped: bool = False) -> Slices:
    """Ten slices of each label to train on and five to test, of one grey level each; tested in reverse if flipped."""
    rows, greys = [], []
    for label, level in levels.items():
        for number in range(15):
            subset = "train" if number < 10 else "test"
            rows.append(row(f"{label}{number}", label, f"{label}{number}", subset=subset))
            greys.append(255 - level if flipped and subset == "test" else level)
    rows.append(row("unnamed", "tumour", "u", source="br35h"))
    greys.append(200)
    pixels = np.empty((len(rows), 16, 16, 3), np.uint8)
    pixels[:] = np.array(greys, np.uint8)[:, None, None, None]
    return as_slices(pixels, rows, np.zeros((len(rows), 4), np.float32))


LEVELS = {label: 40 + 50 * number for number, label in enumerate(LABELS)}


def test_brightness_that_tells_the_label_is_found_out() -> None:
    assert describe_baseline(painted(LEVELS)) == {"macro_f1": 1.0, "accuracy": 1.0, "depth": 6}


def test_it_is_judged_on_the_test_subset_alone() -> None:
    # On test, brightness runs the other way: whoever learnt it from train is wrong on every label.
    assert describe_baseline(painted(LEVELS, flipped=True))["accuracy"] == 0
