import numpy as np
import pytest

from tests.training.fit.pictures import TUMOUR, head, pixels_of, with_tumour
from training.data.boxes import Box, from_centre
from training.fit.transplant import Donor, erased, pasted, sham_erased, sham_pasted

DONOR = Donor(with_tumour(head(90)), TUMOUR, 1)
GROWN = Box(
    TUMOUR.left - 0.25 * 0.12, TUMOUR.top - 0.25 * 0.12, TUMOUR.right + 0.25 * 0.12, TUMOUR.bottom + 0.25 * 0.12
)
"""The box with a quarter of its sides added, which tissue is exchanged in."""


def outside(image: np.ndarray, box: Box) -> np.ndarray:
    """The picture with the box blackened, one pixel wider for rounding."""
    rows, columns = pixels_of(box.grown(1 / 299))
    result = image.copy()
    result[rows, columns] = 0
    return result


def test_an_erased_tumour_is_replaced_by_the_healthy_half() -> None:
    sick = with_tumour(head())
    healthy = erased(sick, TUMOUR)
    assert healthy is not None
    # The head is symmetric, so that what comes back is the head before the tumour came.
    assert np.abs(healthy - head())[pixels_of(TUMOUR)].max() < 3
    assert healthy.max() < 130
    np.testing.assert_array_equal(outside(healthy, GROWN), outside(sick, GROWN))


def test_a_tumour_at_the_midline_is_not_erased() -> None:
    middle = from_centre(0.5, 0.5, 0.1, 0.1)
    assert erased(with_tumour(head(), middle), middle) is None


def test_a_view_from_the_side_is_not_erased() -> None:
    profile = head()
    profile[:, :149] *= 0.4
    profile[:, 149:] *= 2
    assert erased(with_tumour(profile), TUMOUR) is None


@pytest.mark.parametrize("seed", range(8))
def test_a_pasted_tumour_is_bright_in_the_box_that_is_told_and_nowhere_else(seed: int) -> None:
    result = pasted(head(), DONOR, np.random.default_rng(seed))
    if result is None:
        pytest.fail("a head of the same shape has room for the tumour")
    picture, box = result
    rows, columns = pixels_of(from_centre((box.left + box.right) / 2, (box.top + box.bottom) / 2, 0.03, 0.03))
    assert (picture - head())[rows, columns].min() > 40
    # Sides vary by 0.8 to 1.2 beside the ratio of the heads, which is 1.
    assert 0.8 * 0.12 <= box.right - box.left <= 1.2 * 0.12 + 1e-6
    grown = box.grown(0.25 * 1.2 * 0.12)
    np.testing.assert_array_equal(outside(picture, grown), outside(head(), grown))


def test_nothing_is_pasted_where_there_is_no_tissue() -> None:
    hollow = head()
    y, x = np.mgrid[:299, :299] + 0.5
    hollow[((x - 149.5) / 100) ** 2 + ((y - 149.5) / 115) ** 2 < 1] = 0
    assert all(pasted(hollow, DONOR, np.random.default_rng(seed)) is None for seed in range(6))


def test_nothing_is_pasted_into_a_head_of_quite_another_size() -> None:
    small = np.zeros((299, 299), np.float32)
    small[120:180, 120:180] = 100
    assert all(pasted(small, DONOR, np.random.default_rng(seed)) is None for seed in range(6))


def test_a_sham_erasure_leaves_the_tumour_and_changes_healthy_tissue() -> None:
    lopsided = with_tumour(head(), from_centre(0.62, 0.7, 0.06, 0.06), level=150)
    sick = with_tumour(lopsided)
    results = [sham_erased(sick, TUMOUR, np.random.default_rng(seed)) for seed in range(40)]
    done = [result for result in results if result is not None]
    assert len(done) >= 3
    for result in done:
        np.testing.assert_array_equal(result[pixels_of(TUMOUR)], sick[pixels_of(TUMOUR)])
    assert any(np.abs(result - sick).max() > 5 for result in done)


def test_a_sham_paste_brings_no_tumour() -> None:
    results = [sham_pasted(head(), DONOR, np.random.default_rng(seed)) for seed in range(20)]
    done = [result for result in results if result is not None]
    assert len(done) >= 3
    for result in done:
        assert result.max() < 150
    assert any(np.abs(result - head()).max() > 3 for result in done)
