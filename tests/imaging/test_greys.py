"""Greys of other than 8 bits: every depth and number type gives the picture of 8 bits, and says how."""

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from brainmri.errors import ImageUnreadable
from brainmri.imaging import Scaling, read_picture
from brainmri.imaging.greys import finite, scaling_of
from tests.imaging.samples import encode, grey, png_chunk, tiff

WIDTH, HEIGHT = 64, 48


def with_bits(bits: int) -> NDArray[np.uint16]:
    """Returns `grey()`, stretched to 255, as a converter stores it with so many bits."""
    return np.asarray(np.rint(bright() * ((2**bits - 1) / 255)), np.uint16)


def bright() -> NDArray[np.uint8]:
    return np.asarray(grey().astype(int) * 255 // int(grey().max()), np.uint8)


def samples(values: NDArray[Any], bits: int, **tags: int) -> bytes:
    """Returns an uncompressed TIFF of one sample a pixel."""
    numbers = {"photometric": 1, "compression": 1, "sample_format": 1, **tags}
    payload = values.tobytes() if tags.get("compression", 1) == 1 else zlib.compress(values.tobytes())
    return tiff(
        {
            256: [WIDTH],
            257: [HEIGHT],
            258: [bits],
            259: [numbers["compression"]],
            262: [numbers["photometric"]],
            273: [-1],
            277: [1],
            278: [HEIGHT],
            279: [len(payload)],
            339: [numbers["sample_format"]],
        },
        payload,
    )


def packed_samples(values: NDArray[np.uint16], bits: int, **tags: int) -> bytes:
    """Returns a TIFF whose samples follow each other without padding; each row begins with a whole byte."""
    of_16 = np.unpackbits(values.astype(">u2").view(np.uint8).reshape(HEIGHT, WIDTH, 2), axis=2)
    rows = np.packbits(of_16[:, :, 16 - bits :].reshape(HEIGHT, -1), axis=1)
    return samples(rows, bits, **tags)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", range(9, 17))
def test_any_bits_of_sixteen_give_the_picture_of_eight(bits: int, file_format: str) -> None:
    picture = read_picture(encode(with_bits(bits), file_format))
    assert np.array_equal(picture.pixels, bright())
    assert picture.source.bits == bits
    assert picture.source.scaling == Scaling("bit_length", 0, 2**bits - 1)
    assert picture.source.mode == "I;16"


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.float32])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_integers_and_floats_of_32_bits_give_the_picture_of_eight(bits: int, dtype: type[np.number[Any]]) -> None:
    sample_format = {"u": 1, "i": 2, "f": 3}[np.dtype(dtype).kind]
    picture = read_picture(samples(with_bits(bits).astype(dtype), 32, sample_format=sample_format))
    assert np.array_equal(picture.pixels, bright())
    assert picture.source.scaling == Scaling("bit_length", 0, 2**bits - 1)
    assert picture.source.bits == (32 if dtype is np.float32 else bits)


def test_unsigned_integers_beyond_two_thousand_million_are_no_negative_ones() -> None:
    values = np.rint(bright() * ((2**32 - 1) / 255)).astype(np.uint32)
    picture = read_picture(samples(values, 32))
    assert np.array_equal(picture.pixels, bright())
    assert picture.source.scaling == Scaling("bit_length", 0, 2**32 - 1)


@pytest.mark.parametrize(("dtype", "bits"), [(np.float16, 16), (np.float32, 32), (np.float64, 64)])
def test_floats_of_any_size_up_to_one_are_shares_of_white(dtype: type[np.floating[Any]], bits: int) -> None:
    picture = read_picture(samples((bright() / 255).astype(dtype), bits, sample_format=3))
    assert np.array_equal(picture.pixels, bright())
    assert picture.source.scaling == Scaling("unit", 0, 1)


def test_signed_bytes_span_their_type() -> None:
    picture = read_picture(samples((bright().astype(int) - 128).astype(np.int8), 8, sample_format=2))
    assert np.array_equal(picture.pixels, bright())
    assert picture.source.scaling == Scaling("declared", -128, 127)


def test_signed_bytes_without_negatives_span_their_positive_half() -> None:
    picture = read_picture(samples((bright() >> 1).astype(np.int8), 8, sample_format=2))
    assert np.abs(picture.pixels.astype(int) - bright()).max() <= 2
    assert picture.source.scaling == Scaling("declared", 0, 127)


def test_signed_shorts_with_negatives_span_their_own_values() -> None:
    values = bright().astype(np.int16) * 4 - 300
    picture = read_picture(samples(values, 16, sample_format=2))
    assert np.array_equal(picture.pixels, np.rint((values + 300 - values.min() - 300) / np.ptp(values) * 255))
    assert picture.source.scaling == Scaling("value_range", float(values.min()), float(values.max()))


@pytest.mark.parametrize("compression", [1, 8], ids=["uncompressed", "deflate"])
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_samples_of_a_tiff_are_read_by_their_declared_bits(bits: int, compression: int) -> None:
    # Half as bright: the declaration counts, not the values.
    values = with_bits(bits) // 2
    picture = read_picture(packed_samples(values, bits, compression=compression))
    assert np.array_equal(picture.pixels, np.rint(values * (255 / (2**bits - 1))))
    assert (picture.source.mode, picture.source.bits) == (f"L;{bits}", bits)
    assert picture.source.scaling == Scaling("declared", 0, 2**bits - 1)


def test_packed_samples_that_end_too_soon_are_refused() -> None:
    with pytest.raises(ImageUnreadable, match="truncated"):
        read_picture(packed_samples(with_bits(12), 12)[:-200])


@pytest.mark.parametrize(
    ("file", "full"),
    [
        (packed_samples(with_bits(10), 10, photometric=0), 1023),
        (packed_samples(with_bits(12), 12, photometric=0), 4095),
        (samples(with_bits(16), 16, photometric=0), 65535),
        (samples(with_bits(12), 16, photometric=0, compression=8), 4095),
        (samples(with_bits(12).astype(np.int32), 32, photometric=0, sample_format=2), 4095),
        (samples((bright() / 255).astype(np.float32), 32, photometric=0, sample_format=3), 1),
    ],
    ids=["10", "12", "16", "16-deflate", "int32", "float"],
)
def test_min_is_white_is_turned_round_in_every_depth(file: bytes, full: int) -> None:
    picture = read_picture(file)
    assert np.array_equal(picture.pixels, 255 - bright())
    assert (picture.source.scaling.low, picture.source.scaling.high) == (full, 0)


def test_min_is_white_of_eight_bits_is_turned_round_and_as_stored() -> None:
    picture = read_picture(samples(bright(), 8, photometric=0))
    assert np.array_equal(picture.pixels, 255 - bright())


def _with_significant_bits(values: NDArray[np.uint16], bits: int) -> bytes:
    file = encode(values, "PNG")
    return file[:33] + png_chunk(b"sBIT", bytes([bits])) + file[33:]


def test_a_png_that_declares_its_bits_is_scaled_by_them() -> None:
    values = with_bits(12) // 4
    picture = read_picture(_with_significant_bits(values, 12))
    assert np.array_equal(picture.pixels, np.rint(values * (255 / 4095)))
    assert picture.source.scaling == Scaling("declared", 0, 4095)


def test_a_png_that_declares_its_bits_and_fills_sixteen_is_scaled_by_sixteen() -> None:
    # PNG, section 11.3.2.5: sBIT tells the depth before the samples were scaled to that of the file.
    picture = read_picture(_with_significant_bits(with_bits(16), 12))
    assert np.array_equal(picture.pixels, bright())
    assert picture.source.scaling == Scaling("declared", 0, 65535)


def test_eight_bits_stay_as_stored() -> None:
    for name in ("PNG", "BMP", "TIFF"):
        picture = read_picture(encode(grey() // 3, name))
        assert np.array_equal(picture.pixels, grey() // 3)
        assert picture.source.scaling == Scaling("as_stored", 0, 255)
        assert (picture.source.format, picture.source.mode, picture.source.bits) == (name, "L", 8)


def test_a_bmp_whose_alpha_is_zero_everywhere_is_opaque() -> None:
    pixels = np.dstack([bright(), bright(), bright(), np.zeros_like(bright())])[::-1, :, [2, 1, 0, 3]]
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", 108, WIDTH, HEIGHT, 1, 32, 3, 0, 0, 0, 0, 0) + masks + b"BGRs" + bytes(48)
    file = b"BM" + struct.pack("<IHHI", 14 + len(info) + pixels.size, 0, 0, 14 + len(info)) + info + pixels.tobytes()
    picture = read_picture(file)
    assert picture.source.mode == "RGBA"
    assert np.array_equal(picture.pixels, np.dstack([bright()] * 3))


def test_a_png_whose_alpha_is_zero_everywhere_is_black() -> None:
    assert read_picture(encode(np.dstack([bright()] * 3 + [np.zeros_like(bright())]), "PNG")).pixels.max() == 0


@pytest.mark.parametrize("file_format", ["JPEG2000", "AVIF"])
def test_jpeg_2000_and_avif_are_read(file_format: str) -> None:
    picture = read_picture(encode(Image.fromarray(grey()), file_format))
    pixels = picture.pixels if picture.pixels.ndim == 2 else picture.pixels[:, :, 0]
    assert np.abs(pixels.astype(int) - grey()).mean() <= 3
    assert picture.source.format == file_format


@pytest.mark.parametrize(("largest", "rule"), [(65535.0, "bit_length"), (65535.5, "value_range")])
def test_floats_beyond_sixteen_bits_are_scaled_by_their_range(largest: float, rule: str) -> None:
    assert scaling_of(np.array([0.0, largest])).rule == rule


def test_what_is_no_finite_number_becomes_black() -> None:
    values = finite(np.array([np.nan, np.inf, -np.inf, 7.0]))
    assert values.tolist() == [0.0, 0.0, 0.0, 7.0]
    assert values.dtype.name == "float32"
