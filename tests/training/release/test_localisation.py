import numpy as np
import pytest
from numpy.typing import NDArray

from training.release.localisation import centre_localisation, localisation

GROUPS = np.arange(2)


def one_cell(row: int, column: int, cells: int = 10) -> NDArray[np.float32]:
    """A map of 10 by 10 cells of 29.9 pixels with evidence in one of them, whose centre is the maximum."""
    heat = np.zeros((cells, cells), np.float32)
    heat[row, column] = 3
    return heat


def box(left: float, top: float, right: float, bottom: float) -> NDArray[np.float64]:
    """A box in pixels, as shares."""
    return np.array([left, top, right, bottom]) / 299


def test_a_maximum_in_the_box_counts_for_both_and_one_within_the_margin_for_one() -> None:
    # The cell in row 2, column 5 has its centre at x = 5.5 * 29.9 = 164.5, y = 2.5 * 29.9 = 74.8.
    maps = np.stack([one_cell(2, 5)] * 4)
    boxes = np.array(
        [
            box(160, 70, 170, 80),
            box(170, 70, 190, 80),  # begins 5.5 pixels to the right
            box(179, 70, 190, 80),  # begins 14.5 pixels to the right
            box(181, 70, 190, 80),  # begins 16.5 pixels to the right
        ]
    )
    found = localisation(maps, boxes, np.arange(4))
    assert (found["images"], found["groups"]) == (4, 4)
    assert (found["pointing_hits"], found["pointing"]) == (3, 0.75)
    assert (found["pointing_strict_hits"], found["pointing_strict"]) == (1, 0.25)


def test_left_and_top_are_not_confused() -> None:
    maps = one_cell(2, 5)[np.newaxis]
    swapped = box(70, 160, 80, 170)
    assert localisation(maps, swapped[np.newaxis], np.zeros(1, np.intp))["pointing"] == 0


def test_energy_is_the_share_of_the_enlarged_map_in_the_box() -> None:
    # Alike everywhere: the share of the area. 100 of 299 columns have their centre in the first 100 pixels.
    even = np.ones((2, 10, 10), np.float32)
    boxes = np.array([box(0, 0, 100, 299), box(0, 0, 299, 299)])
    assert localisation(even, boxes, GROUPS)["energy"] == pytest.approx((100 / 299 + 1) / 2, abs=1e-6)
    # Two cells that cover the image's halves, 1 and 3: enlarged, 1 up to x = 74.75, 3 from 224.25 on, a ramp between.
    halves = np.array([[[1, 3]]], np.float32)
    left = localisation(halves, box(0, 0, 149.5, 299)[np.newaxis], np.zeros(1, np.intp))
    # The mean is 1 over the first quarter and 1.5 over the second, of 2 over the whole: (1 + 1.5) / 2 / 2 / 2.
    assert left["energy"] == pytest.approx(0.3125, abs=0.004)


def test_a_map_without_evidence_meets_nothing() -> None:
    found = localisation(np.zeros((1, 10, 10), np.float32), box(0, 0, 299, 299)[np.newaxis], np.zeros(1, np.intp))
    assert (found["pointing"], found["pointing_strict"], found["energy"]) == (0, 0, 0)


def test_the_centre_points_at_the_middle_pixel_and_spreads_evenly() -> None:
    boxes = np.array([box(140, 140, 160, 160), box(160, 140, 180, 160)])
    found = centre_localisation(boxes, GROUPS)
    assert (found["pointing"], found["pointing_strict"]) == (1, 0.5)
    assert found["energy"] == pytest.approx(20 * 20 / 299**2, abs=1e-6)


def test_the_interval_draws_whole_groups() -> None:
    maps = np.stack([one_cell(2, 5)] * 40)
    boxes = np.array([box(160, 70, 170, 80)] * 20 + [box(0, 200, 20, 220)] * 20)
    two_persons = localisation(maps, boxes, np.repeat([0, 1], 20))
    forty_persons = localisation(maps, boxes, np.arange(40))
    assert two_persons["pointing"] == forty_persons["pointing"] == 0.5
    assert two_persons["pointing_ci95"] == [0.0, 1.0]
    low, high = forty_persons["pointing_ci95"]
    assert 0.3 < low < 0.4
    assert 0.6 < high < 0.7


@pytest.mark.parametrize(
    ("maps", "boxes", "quoted"),
    [
        (np.full((1, 2, 2), np.nan, np.float32), [[0, 0, 1, 1]], "0 or more"),
        (-np.ones((1, 2, 2), np.float32), [[0, 0, 1, 1]], "0 or more"),
        (np.ones((2, 2), np.float32), [[0, 0, 1, 1]], "0 or more"),
        (np.ones((2, 2, 2), np.float32), [[0, 0, 1, 1]], r"boxes of \[2, 4\]"),
        (np.ones((1, 2, 2), np.float32), [[0.5, 0, 0.5, 1]], "empty"),
    ],
)
def test_what_cannot_be_measured_is_refused(maps: NDArray[np.float32], boxes: list[list[float]], quoted: str) -> None:
    with pytest.raises(ValueError, match=quoted):
        localisation(maps, np.array(boxes), np.zeros(len(maps), np.intp))
