import numpy as np
import pytest
from scipy import ndimage

from tests.training.fit.pictures import SIDE, TUMOUR, head, pixels_of, with_tumour
from training.data.boxes import Box
from training.fit.styles import (
    Styles,
    inverted,
    randomly_filtered,
    restyle,
    with_amplitudes_of,
    with_bias_field,
    with_random_curve,
    without_skull,
)


def rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_nothing_switched_on_changes_nothing() -> None:
    assert np.array_equal(restyle(head(), None, head(50), Styles(), rng()), head())


@pytest.mark.parametrize("name", sorted(Styles.model_fields))
def test_each_style_changes_the_look_within_the_range_of_grey(name: str) -> None:
    styled = restyle(head(), None, with_tumour(head(50)), Styles(**{name: 1.0}), rng())
    assert styled.shape == (SIDE, SIDE)
    assert np.abs(styled - head()).max() > 5
    assert styled.min() >= -0.01
    assert styled.max() <= 255.01


@pytest.mark.parametrize("seed", range(5))
def test_without_skull_the_rim_is_black_and_the_middle_is_as_it_was(seed: int) -> None:
    stripped = without_skull(head(), None, rng(seed))
    # The head's half axes are 110 and 125 pixels; 0.95 of them are kept at most and 0.72 at least.
    assert stripped[149, :43].max() == 0
    assert stripped[:27, 149].max() == 0
    middle = np.s_[149 - 50 : 149 + 50, 149 - 50 : 149 + 50]
    np.testing.assert_array_equal(stripped[middle], head()[middle])


@pytest.mark.parametrize("seed", range(5))
def test_a_tumour_is_never_cut_off_with_the_skull(seed: int) -> None:
    edge = Box(0.13, 0.4, 0.23, 0.5)
    picture = with_tumour(head(), edge)
    np.testing.assert_array_equal(without_skull(picture, edge, rng(seed)), picture)
    inner = with_tumour(head())
    stripped = without_skull(inner, TUMOUR, rng(seed))
    assert stripped[pixels_of(TUMOUR)].max() == 240


def test_amplitudes_of_a_brighter_copy_raise_the_mean_and_leave_fine_detail() -> None:
    picture = head(60)
    styled = with_amplitudes_of(picture, 1.5 * picture, rng())
    # Between 0.3 and 1.0 of the difference of the means is taken over.
    assert 1.15 <= styled.mean() / picture.mean() <= 1.5
    # Frequencies from 5 % of the side on stay; clipping to the range of grey moves them a little.
    before, after = (np.fft.rfft2(image)[60:-60, 60:] for image in (picture, styled))
    np.testing.assert_allclose(after, before, atol=0.02 * np.abs(before).max())


def test_amplitudes_of_itself_change_nothing() -> None:
    np.testing.assert_allclose(with_amplitudes_of(head(), head(), rng()), head(), atol=1e-2)


def test_a_random_filter_is_a_correlation_blended_with_the_picture() -> None:
    picture, draws = with_tumour(head()), rng()
    kernel = draws.standard_normal((3, 3)).astype(np.float32)
    share = draws.uniform(0.3, 1.0)
    kernel[1, 1] += 1
    filtered = ndimage.correlate(picture, kernel, mode="nearest")
    low, high = np.percentile(filtered[::4, ::4], (1, 99.5))
    expected = picture * (1 - share) + np.clip((filtered - low) * 255 / (high - low), 0, 255) * share
    np.testing.assert_allclose(randomly_filtered(picture, rng()), expected, atol=0.05)


def test_inversion_swaps_dark_and_bright_tissue_and_keeps_the_background_black() -> None:
    picture = np.zeros((100, 100), np.float32)
    picture[20:80, 20:50], picture[20:80, 50:80] = 60, 200
    swapped = inverted(picture)
    assert (swapped[20:80, 20:50] == 200).all()
    assert (swapped[20:80, 50:80] == 60).all()
    assert swapped[:20].max() == 0


def test_a_picture_without_tissue_is_not_inverted() -> None:
    black = np.zeros((50, 50), np.float32)
    assert np.array_equal(inverted(black), black)


def test_a_bias_field_is_smooth_and_its_logarithm_a_paraboloid() -> None:
    field = with_bias_field(np.full((60, 60), 50, np.float32), rng()) / 50
    y, x = (values.ravel() for values in np.meshgrid(np.linspace(-1, 1, 60), np.linspace(-1, 1, 60), indexing="ij"))
    terms = np.stack([x, y, x * y, x**2, y**2], axis=1)
    _, residual, _, _ = np.linalg.lstsq(terms, np.log(field.ravel()), rcond=None)
    assert residual[0] < 1e-6
    assert np.ptp(field) > 0.1


def test_a_curve_rises_and_keeps_black() -> None:
    ramp = np.tile(np.arange(256, dtype=np.float32), (4, 1))
    curved = with_random_curve(ramp, rng())
    assert curved[0, 0] == 0
    assert (np.diff(curved[0]) >= 0).all()
    assert 200 <= curved[0, 255] <= 255
    assert np.abs(curved - ramp).max() > 5
