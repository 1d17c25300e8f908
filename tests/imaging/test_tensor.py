"""The resize, and that grey and colour meet in the same tensor."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from brainmri.imaging import SIDE, decode, to_tensor
from tests.imaging.samples import encode, grey, lossless, rgb


def test_the_tensor_is_299_by_299_by_3_and_contiguous() -> None:
    for pixels in (grey(), rgb()):
        tensor = to_tensor(pixels)
        assert tensor.shape == (SIDE, SIDE, 3) == (299, 299, 3)
        assert tensor.dtype == np.uint8
        assert tensor.flags.c_contiguous


def test_grey_equals_three_equal_channels() -> None:
    assert np.array_equal(to_tensor(grey()), to_tensor(np.repeat(grey()[:, :, None], 3, axis=2)))


def test_every_lossless_format_gives_the_same_tensor() -> None:
    expected = to_tensor(grey())
    for name, file in lossless().items():
        assert np.array_equal(to_tensor(decode(file)), expected), name


def test_grey_saved_as_rgb_jpeg_gives_the_tensor_of_the_grey_jpeg_within_one_level() -> None:
    one = decode(encode(grey(), "JPEG", quality=95))
    three = decode(encode(Image.fromarray(grey()).convert("RGB"), "JPEG", quality=95))
    assert (one.ndim, three.ndim) == (2, 3)
    assert np.abs(to_tensor(one).astype(int) - to_tensor(three)).max() <= 1


def test_a_flat_square_stays_flat_at_any_size() -> None:
    for shape in ((16, 16), (299, 299), (1024, 1024)):
        assert np.unique(to_tensor(np.full(shape, 77, np.uint8))).tolist() == [77]


def test_an_image_of_the_right_size_is_unchanged() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    assert np.array_equal(to_tensor(noise), noise)


@pytest.mark.parametrize(
    ("height", "width", "tall", "wide"), [(50, 100, 150, 299), (400, 100, 299, 75), (8, 64, 37, 299)]
)
def test_proportions_are_kept_and_the_rest_is_black(height: int, width: int, tall: int, wide: int) -> None:
    filled = to_tensor(np.full((height, width), 255, np.uint8)).min(axis=2)
    rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
    assert (len(rows), len(columns)) == (tall, wide)
    assert (rows[0], columns[0]) == ((299 - tall) // 2, (299 - wide) // 2)
    assert filled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].min() == 255


def test_shrinking_is_antialiased() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (1200, 600))
    inner = to_tensor(stripes)[2:-2, 2:-2]
    # Plain bilinear sampling would alias the stripes to full contrast; their mean is 127.5.
    assert inner.min() >= 100
    assert inner.max() <= 155


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((48, 64, 3), np.float32),
        np.zeros((48, 64), np.uint16),
        np.zeros((48, 64, 1), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((1, 48, 64, 3), np.uint8),
        np.zeros(64, np.uint8),
    ],
    ids=lambda pixels: f"{pixels.dtype}{list(pixels.shape)}",
)
def test_other_dtypes_and_shapes_are_refused(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"Expected uint8 \[H, W\] or \[H, W, 3\]"):
        to_tensor(pixels)
