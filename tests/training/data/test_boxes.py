import numpy as np
import pytest

from training.data.boxes import Box, from_centre


def test_a_box_of_a_wide_picture_after_padding_to_a_square() -> None:
    # 200 by 100 pixels: a quarter of the square's height is added above and below.
    assert Box(0.1, 0.2, 0.5, 0.6).padded(200, 100).values() == pytest.approx((0.1, 0.35, 0.5, 0.55))
    assert Box(0.1, 0.2, 0.5, 0.6).padded(100, 200).values() == pytest.approx((0.3, 0.2, 0.5, 0.6))
    assert Box(0.1, 0.2, 0.5, 0.6).padded(64, 64).values() == pytest.approx((0.1, 0.2, 0.5, 0.6))


def test_mirroring_exchanges_left_and_right() -> None:
    assert Box(0.1, 0.2, 0.4, 0.6).mirrored().values() == pytest.approx((0.6, 0.2, 0.9, 0.6))


def test_a_quarter_turn_about_the_middle() -> None:
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    moved = Box(0.1, 0.2, 0.4, 0.6).moved(turn, np.array([1.0, 0.0]))
    assert moved.values() == pytest.approx((0.4, 0.1, 0.8, 0.4))


def test_areas_of_clipped_grown_and_empty_boxes() -> None:
    assert from_centre(0.5, 0.5, 0.2, 0.4).values() == pytest.approx((0.4, 0.3, 0.6, 0.7))
    assert Box(-0.5, 0.5, 0.5, 1.5).clipped().values() == (0, 0.5, 0.5, 1)
    assert Box(-0.5, 0.5, 0.5, 1.5).clipped().area == 0.25
    assert Box(0.4, 0.4, 0.6, 0.6).grown(0.1).area == pytest.approx(0.16)
    assert Box(0.6, 0.2, 0.4, 0.8).area == 0
