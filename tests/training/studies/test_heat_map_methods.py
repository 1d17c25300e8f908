"""Methods of heat maps on maps and networks whose answer is known."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from training.data.slices import Slices
from training.studies.heat_map_methods import boxed_rows, page, recipro_cam, rise


def test_recipro_cam_is_highest_where_a_cell_alone_gives_most_to_the_class() -> None:
    cells = np.zeros((5, 6, 3), np.float32)
    cells[1, 4, 0], cells[3, 1, 1] = 8, 9
    found = recipro_cam(cells, np.zeros(3, np.float32), np.array([1, -1, 0.5], np.float32))
    assert found.argmax() == 1 * 6 + 4
    assert found.argmin() == 3 * 6 + 1
    # A neighbour keeps half of what the cell itself keeps, one across the corner a quarter.
    assert found[1, 4] - found[0, 0] == pytest.approx(2 * (found[1, 3] - found[0, 0]))
    assert found[1, 4] - found[0, 0] == pytest.approx(4 * (found[0, 3] - found[0, 0]))


def test_rise_points_at_what_the_answer_depends_on() -> None:
    def light_of_a_corner(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(images[:, 200:240, 40:80, 0].mean(axis=(1, 2)) / 255, np.float32)

    found = rise(light_of_a_corner, np.full((299, 299, 3), 255, np.uint8), masks=200)
    top, left = np.unravel_index(found.argmax(), found.shape)
    assert found.shape == (299, 299)
    assert found.min() == 0
    assert 170 <= top <= 270
    assert 10 <= left <= 110


def test_the_page_shows_each_method_with_its_intervals() -> None:
    row = {"method": "A", "images": 3, "groups": 2, "ms": 12.4, "pointing": 2 / 3, "pointing_ci95": [0.5, 0.75]}
    text = page("Persons", [row | {"pointing_strict": 1 / 3, "pointing_strict_ci95": [0, 1]}])
    assert "## Persons: 3 slices of 2 persons or groups" in text
    assert "| A | 0.667 (0.500 to 0.750) | 0.333 (0.000 to 1.000) | 12 |" in text


def test_rows_with_a_box_are_spread_over_their_subset() -> None:
    images = [SimpleNamespace(subset=subset) for subset in ("validation",) * 9 + ("external_validation",) * 2]
    boxes = np.array(
        [[0, 0, share, share] for share in (0.5, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0)], np.float32
    )
    slices = Slices(np.empty(0, np.uint8), images, np.zeros(11, np.intp), np.arange(11), boxes)  # type: ignore[arg-type]
    assert boxed_rows(slices, "validation", 3).tolist() == [0, 4, 8]
    assert boxed_rows(slices, "external_validation", 3).tolist() == [9]
