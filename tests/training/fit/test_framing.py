from typing import Any

import numpy as np
import pytest

from tests.training.fit.pictures import SIDE, TUMOUR, bright_box, head, with_tumour
from training.data.boxes import Box, from_centre
from training.fit.framing import Framing, reframe
from training.fit.head import head_box

STILL: dict[str, Any] = {"rotation": 0.0, "quarter": 0.0, "flip": 0.0, "reframe": 0.0, "stretch": 0.0, "shift": 0.0}


def framed(seed: int, **how: float) -> tuple[np.ndarray, Box]:
    picture, box = reframe(with_tumour(head()), TUMOUR, Framing(**STILL | how), np.random.default_rng(seed))
    assert box is not None
    return picture, box


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "how", [{"flip": 1.0}, {"shift": 0.1}, {"stretch": 0.3}, {"reframe": 1.0}, {"quarter": 1.0}, {"flip": 0.5}]
)
def test_the_box_stays_on_the_tumour(seed: int, how: dict[str, float]) -> None:
    picture, box = framed(seed, **how)
    # The ellipse fills its box; bilinear sampling blurs its edge by about a pixel.
    np.testing.assert_allclose(box.values(), bright_box(picture).values(), atol=3 / SIDE)


@pytest.mark.parametrize("seed", range(6))
def test_the_box_of_a_turned_tumour_is_upright_and_holds_it(seed: int) -> None:
    picture, box = framed(seed, rotation=40.0, shift=0.05, flip=0.5)
    seen = bright_box(picture)
    assert box.left - 2 / SIDE <= seen.left < seen.right <= box.right + 2 / SIDE
    assert box.top - 2 / SIDE <= seen.top < seen.bottom <= box.bottom + 2 / SIDE
    # A square turned by 40 degrees needs a box of at most (cos + sin)^2 = 1.98 times its area.
    assert box.area < 2.1 * TUMOUR.area * 1.15**2


def test_a_mirrored_frame_mirrors_the_picture() -> None:
    _, plain = framed(1)
    _, mirrored = framed(1, flip=1.0)
    np.testing.assert_allclose(mirrored.values(), plain.mirrored().values(), atol=1e-6)


def test_a_quarter_turn_turns_about_the_middle() -> None:
    _, plain = framed(1)
    x, y = (plain.left + plain.right) / 2 - 0.5, (plain.top + plain.bottom) / 2 - 0.5
    seen = {
        (round((box.left + box.right) / 2 - 0.5, 3), round((box.top + box.bottom) / 2 - 0.5, 3))
        for box in (framed(seed, quarter=1.0)[1] for seed in range(12))
    }
    assert len(seen) > 3
    distances = {round(float(np.hypot(*point)) / float(np.hypot(x, y)), 1) for point in seen}
    # Zooms of 0.87 to 1.15 over one another.
    assert min(distances) >= 0.7
    assert max(distances) <= 1.4


@pytest.mark.parametrize("seed", range(8))
def test_reframing_brings_the_head_to_62_to_105_percent_of_the_frame(seed: int) -> None:
    picture, box = reframe(head(), None, Framing(**STILL | {"reframe": 1.0}), np.random.default_rng(seed))
    assert box is None
    found = head_box(picture)
    assert 0.58 <= max(found.right - found.left, found.bottom - found.top) <= 1.0


@pytest.mark.parametrize("seed", range(12))
def test_a_frame_that_would_cut_the_tumour_off_is_not_taken(seed: int) -> None:
    at_the_edge = from_centre(0.18, 0.5, 0.1, 0.1)
    picture = with_tumour(head(), at_the_edge)
    how = Framing(**STILL | {"shift": 0.6})
    result, box = reframe(picture, at_the_edge, how, np.random.default_rng(seed))
    assert box is not None
    if box == at_the_edge:
        np.testing.assert_array_equal(result, picture)
    else:
        # 0.7 of a box that zooming changed by 0.87 to 1.15 a side.
        assert box.area >= 0.7 * 0.87**2 * at_the_edge.area


def test_some_frames_are_refused_and_some_taken() -> None:
    at_the_edge = from_centre(0.18, 0.5, 0.1, 0.1)
    how = Framing(**STILL | {"shift": 0.6})
    taken = [
        reframe(with_tumour(head(), at_the_edge), at_the_edge, how, np.random.default_rng(seed))[1] != at_the_edge
        for seed in range(12)
    ]
    assert 0 < sum(taken) < 12


def test_the_generator_alone_decides() -> None:
    everything = {"rotation": 20.0, "flip": 0.5, "reframe": 0.5, "stretch": 0.15, "shift": 0.06}
    first, second, third = (framed(seed, **everything)[0] for seed in (4, 4, 5))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)
