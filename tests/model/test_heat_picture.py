import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from brainmri.errors import MalformedRequest
from brainmri.model.explanation import HeatMap
from brainmri.model.heat_picture import PALETTES, Style, grey_map, overlay_png


def heat(*rows: list[float]) -> HeatMap:
    return HeatMap("glioma", np.array(rows, np.float32))


def opened(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_the_grey_map_is_white_at_its_maximum_and_says_what_white_stands_for() -> None:
    grey = grey_map(heat([0, 8], [0, 4]))
    pixels = opened(grey.png)
    assert (grey.side, grey.maximum) == (299, 8.0)
    assert (pixels.shape, pixels.dtype.name) == ((299, 299), "uint8")
    assert (pixels[0, 0], pixels[0, 298], pixels[298, 298], pixels[298, 0]) == (0, 255, 128, 0)


def test_a_map_without_evidence_is_black() -> None:
    grey = grey_map(heat([0, 0], [0, 0]))
    assert (grey.maximum, int(opened(grey.png).max())) == (0.0, 0)


def test_the_overlay_mixes_the_palette_into_the_slice_where_the_evidence_is() -> None:
    slice_pixels = np.full((299, 299, 3), 100, np.uint8)
    pixels = opened(overlay_png(slice_pixels, heat([0, 8]), Style(opacity=0.5, palette="grey")))
    assert pixels.shape == (299, 299, 3)
    assert pixels[150, 0].tolist() == [100, 100, 100]
    # Half of the slice, half of white, the palette's end: 177.5.
    assert pixels[150, 298].tolist() == [178, 178, 178]
    last = list(PALETTES["cividis"][-1])
    assert opened(overlay_png(slice_pixels, heat([0, 8]), Style(1.0)))[150, 298].tolist() == last


def test_no_opacity_leaves_the_slice() -> None:
    slice_pixels = np.random.default_rng(0).integers(0, 256, (299, 299, 3), np.uint8)
    assert (opened(overlay_png(slice_pixels, heat([0, 8]), Style(0.0))) == slice_pixels).all()


@pytest.mark.parametrize("opacity", ["", "much", "-0.1", "1.01", "nan", "inf"])
def test_an_opacity_that_cannot_be_is_refused_with_the_range(opacity: str) -> None:
    with pytest.raises(MalformedRequest, match="Send a number from 0 to 1") as caught:
        Style.of(opacity, None)
    assert caught.value.limit == "0 to 1"


def test_an_unknown_palette_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(MalformedRequest, match=r"no palette 'jet'\. Choose one of cividis, fire, grey"):
        Style.of(None, "jet")


def test_what_is_not_asked_for_has_defaults() -> None:
    assert Style.of(None, None) == Style(0.6, "cividis")
    assert Style.of("0.25", "fire") == Style(0.25, "fire")
