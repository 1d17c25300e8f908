import numpy as np
import pytest
from numpy.typing import NDArray

from training.fit.augment import Augmentation, augment

OFF = dict.fromkeys(Augmentation.model_fields, 0.0)


def image(grey: bool = True) -> NDArray[np.uint8]:
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (23, 23, 1 if grey else 3), dtype=np.uint8)
    return np.repeat(np.kron(small, np.ones((13, 13, 1), np.uint8)), 3 if grey else 1, axis=2)


def varied(**changes: float) -> NDArray[np.uint8]:
    return augment(image(), Augmentation(**(OFF | changes)), np.random.default_rng(5))


def test_nothing_switched_on_changes_nothing() -> None:
    assert np.array_equal(augment(image(), Augmentation(**OFF), np.random.default_rng(0)), image())
    assert np.array_equal(augment(image(False), Augmentation(**OFF), np.random.default_rng(0)), image(False))


@pytest.mark.parametrize(
    "name", ["rotation", "scale", "shift", "resharpen", "blur", "jpeg", "gamma", "brightness", "noise", "cutout"]
)
def test_each_variation_changes_the_image_but_not_its_shape(name: str) -> None:
    strength = {"rotation": 20.0, "noise": 9.0, "scale": 0.3, "shift": 0.3, "gamma": 0.5, "brightness": 0.5}
    result = varied(**{name: strength.get(name, 1.0)})
    assert result.shape == (299, 299, 3)
    assert result.dtype == np.uint8
    assert not np.array_equal(result, image())


def test_a_flip_is_the_mirror_image() -> None:
    assert np.array_equal(varied(flip=1.0), image()[:, ::-1])


def test_a_shift_moves_without_scaling() -> None:
    shifted = varied(shift=0.1).astype(int)
    rows, columns = np.nonzero((shifted[..., 0] == 0) & (image()[..., 0] != 0))
    assert 0 < len(rows) < shifted[..., 0].size / 2
    assert len(columns) == len(rows)


def test_cut_out_blackens_one_rectangle_only() -> None:
    result = varied(cutout=1.0)
    changed = (result != image()).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    box = result[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert box.max() == 0
    assert box.size / 3 < 0.1 * 299 * 299


def test_grey_stays_grey_under_every_variation() -> None:
    result = augment(image(), Augmentation(), np.random.default_rng(3))
    assert np.array_equal(result[..., 0], result[..., 1])
    assert np.array_equal(result[..., 0], result[..., 2])


def test_the_generator_alone_decides() -> None:
    first, second, third = (augment(image(), Augmentation(), np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)
