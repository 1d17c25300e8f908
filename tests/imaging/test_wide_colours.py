"""Colours of 16 bits a sample: the picture of 8 bits, whatever share of the 16 bits a writer uses."""

import random
import zlib

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from brainmri.errors import ImageUnreadable
from brainmri.imaging import Picture, read_picture
from tests.imaging.samples import encode, rgb, tiff


def bright() -> NDArray[np.uint8]:
    """Returns `rgb()`, its largest value stretched to 255."""
    return np.asarray(rgb().astype(int) * 255 // int(rgb().max()), np.uint8)


def with_bits(bits: int) -> NDArray[np.uint16]:
    return np.asarray(np.rint(bright() * ((2**bits - 1) / 255)), np.uint16)


def png(samples: NDArray[np.uint16]) -> bytes:
    return bytes(imagecodecs.png_encode(samples))


def tiff_of(samples: NDArray[np.uint16], compression: int) -> bytes:
    """Returns a TIFF of one strip; 1 is uncompressed, 8 deflate."""
    payload = samples.tobytes() if compression == 1 else zlib.compress(samples.tobytes())
    height, width, _ = samples.shape
    return tiff(
        {
            256: [width],
            257: [height],
            258: [16, 16, 16],
            259: [compression],
            262: [2],
            273: [-1],
            277: [3],
            278: [height],
            279: [len(payload)],
        },
        payload,
    )


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_a_png_gives_the_picture_of_eight_bits(bits: int) -> None:
    picture = read_picture(png(with_bits(bits)))
    assert np.array_equal(picture.pixels, bright())
    source = picture.source
    assert (source.mode, source.bits, source.scaling.rule, source.scaling.high) == (
        "RGB;16",
        bits,
        "bit_length",
        2**bits - 1,
    )


def test_transparent_parts_become_black() -> None:
    alpha = np.full((*rgb().shape[:2], 1), 65535, np.uint16)
    alpha[:, :10] = 0
    pixels = read_picture(png(np.concatenate([with_bits(12), alpha], axis=2))).pixels
    assert not pixels[:, :10].any()
    assert np.array_equal(pixels[:, 10:], bright()[:, 10:])


def test_grey_with_alpha_stays_one_channel() -> None:
    grey = np.stack([with_bits(12)[:, :, 0], np.full(rgb().shape[:2], 65535, np.uint16)], axis=2)
    picture = read_picture(png(grey))
    assert picture.pixels.ndim == 2
    assert picture.source.bits == 12


def test_eight_bits_stay_as_they_are() -> None:
    picture = read_picture(encode(bright(), "PNG"))
    assert np.array_equal(picture.pixels, bright())
    assert picture.source.scaling.rule == "as_stored"


def test_damaged_files_give_pixels_or_our_error_and_no_word(capfd: pytest.CaptureFixture[str]) -> None:
    generator, outcomes = random.Random(7), set()  # noqa: S311
    for _ in range(200):
        data = bytearray(png(with_bits(12)))
        for _ in range(generator.randint(1, 4)):
            data[generator.randrange(8, len(data))] = generator.randrange(256)
        outcomes.add(type(outcome(bytes(data))))
    assert outcomes <= {Picture, ImageUnreadable}
    assert capfd.readouterr().err == ""


def outcome(data: bytes) -> Picture | ImageUnreadable:
    try:
        return read_picture(data)
    except ImageUnreadable as error:
        return error


@pytest.mark.parametrize("compression", [1, 8])
def test_a_tiff_gives_the_picture_of_eight_bits(compression: int) -> None:
    picture = read_picture(tiff_of(with_bits(12), compression))
    assert np.array_equal(picture.pixels, bright())
    assert (picture.source.mode, picture.source.bits) == ("RGB;16", 12)
