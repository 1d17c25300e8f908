import numpy as np
import pytest
from numpy.typing import NDArray

from training.fit.augment import Augmentation, augment

OFF = dict.fromkeys(Augmentation.model_fields, 0.0)


def image() -> NDArray[np.float32]:
    """Grey tiles of 13 pixels, `[299, 299]`."""
    tiles = np.random.default_rng(1).integers(0, 256, (23, 23)).astype(np.float32)
    return np.kron(tiles, np.ones((13, 13), np.float32))


def varied(seed: int = 5, **changes: float) -> NDArray[np.uint8]:
    return augment(image(), Augmentation(**(OFF | changes)), np.random.default_rng(seed))


def test_nothing_switched_on_only_rounds_to_whole_grey_levels() -> None:
    result = augment(image() - 0.4 * (image() > 0), Augmentation(**OFF), np.random.default_rng(0))
    assert result.dtype == np.uint8
    assert np.array_equal(result, image().astype(np.uint8))


@pytest.mark.parametrize("name", sorted(OFF))
def test_each_variation_changes_the_image_but_not_its_shape(name: str) -> None:
    strength = {"noise": 9.0, "gamma": 0.5, "brightness": 0.5, "contrast": 0.5}
    result = varied(**{name: strength.get(name, 1.0)})  # type: ignore[arg-type]
    assert result.shape == (299, 299)
    assert result.dtype == np.uint8
    assert not np.array_equal(result, image())


@pytest.mark.parametrize("name", ["resharpen", "blur"])
def test_softening_lowers_the_contrast_of_neighbours(name: str) -> None:
    def contrast(pixels: NDArray[np.generic]) -> float:
        return float(np.abs(np.diff(pixels.astype(float), axis=1)).max())

    softened = varied(**{name: 1.0})  # type: ignore[arg-type]
    assert contrast(softened) < contrast(image())


def test_tone_is_one_rising_curve_of_grey_levels() -> None:
    result = varied(gamma=0.5, brightness=0.5)
    levels = {(int(before), int(after)) for before, after in zip(image().ravel(), result.ravel(), strict=True)}
    curve = [after for _, after in sorted(levels)]
    assert len(levels) == len(np.unique(image()))
    assert curve == sorted(curve)


def test_brightness_scales_every_level_by_the_same_factor() -> None:
    result = varied(brightness=0.5).astype(float)
    middling = (image() > 100) & (image() < 160)
    factors = result[middling] / image()[middling]
    assert 0.5 <= factors.mean() <= 1.5
    assert np.ptp(factors) < 0.02


def test_noise_has_at_most_the_stated_deviation() -> None:
    flat = np.full((299, 299), 128, np.float32)
    deviations = [
        augment(flat, Augmentation(**(OFF | {"noise": 9.0})), np.random.default_rng(seed)).std() for seed in range(8)
    ]
    assert max(deviations) < 9.2
    assert max(deviations) > 3


def test_the_generator_alone_decides() -> None:
    first, second, third = (augment(image(), Augmentation(), np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)
