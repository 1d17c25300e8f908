"""What `decode` makes of every kind of image that it accepts."""

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from brainmri.imaging import decode
from tests.imaging.samples import encode, grey, lossless, orientation, png_chunk, png_header, rgb, tiff

# What is stored so that the picture is upright after a viewer obeys the tag (EXIF 2.32, tag 0x0112).
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


def far(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("name", lossless())
def test_lossless_grey_keeps_every_pixel(name: str) -> None:
    pixels = decode(lossless()[name])
    assert pixels.dtype == np.uint8
    # WebP knows no grey, and a GIF's greys are palette entries: both give three equal channels.
    three = name.startswith(("webp", "gif"))
    assert np.array_equal(pixels, np.repeat(grey()[:, :, None], 3, axis=2) if three else grey())


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_lzma"}),
        ("TIFF", {"compression": "zstd"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_rgb_keeps_every_pixel(file_format: str, options: dict[str, object]) -> None:
    assert np.array_equal(decode(encode(rgb(), file_format, **options)), rgb())


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("JPEG", {"quality": 98}),
        ("JPEG", {"quality": 98, "progressive": True}),
        ("TIFF", {"compression": "jpeg", "quality": 98}),
        ("WEBP", {"quality": 100}),
    ],
)
def test_lossy_grey_differs_by_few_levels(file_format: str, options: dict[str, object]) -> None:
    pixels = decode(encode(grey(), file_format, **options))
    pixels = pixels if pixels.ndim == 2 else pixels[:, :, 0]
    # The step in the picture rings: a few levels at quality 98.
    assert far(pixels, grey()) <= 12
    assert np.abs(pixels.astype(int) - grey()).mean() <= 2


def test_the_first_frame_of_an_mpo_is_its_picture() -> None:
    plain = encode(Image.fromarray(rgb()), "JPEG", quality=95)
    mpo = encode(
        Image.fromarray(rgb()),
        "MPO",
        quality=95,
        save_all=True,
        append_images=[Image.new("RGB", (64, 48), (255, 0, 0))],
    )
    assert np.array_equal(decode(mpo), decode(plain))


def test_sixteen_bits_become_the_nearest_eight() -> None:
    wide = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 21
    nearest = np.rint(wide / 257).astype(np.uint8)
    assert np.array_equal(decode(encode(wide, "PNG")), nearest)
    assert np.array_equal(decode(encode(wide, "TIFF")), nearest)


def test_a_big_endian_16_bit_tiff_reads_like_a_little_endian_one() -> None:
    wide = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 21
    image = Image.frombytes("I;16B", (64, 48), wide.astype(">u2").tobytes())
    assert np.array_equal(decode(encode(image, "TIFF")), np.rint(wide / 257).astype(np.uint8))


def test_the_transparent_colour_of_a_16_bit_png_turns_black() -> None:
    wide = grey().astype(np.uint16) * 257
    file = encode(wide, "PNG")
    header, rest = file[:33], file[33:]
    key = int(grey()[20, 40])
    pixels = decode(header + png_chunk(b"tRNS", struct.pack(">H", key * 257)) + rest)
    assert np.array_equal(pixels, np.where(grey() == key, 0, grey()))


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.linspace(0, 1, 48 * 64, dtype=np.float32), np.linspace(0, 255, 48 * 64)),
        (np.linspace(0, 255, 48 * 64, dtype=np.float32), np.linspace(0, 255, 48 * 64)),
        (np.linspace(0, 65535, 48 * 64, dtype=np.float32), np.linspace(0, 255, 48 * 64)),
        (np.linspace(-1000, 3000, 48 * 64, dtype=np.float32), np.linspace(0, 255, 48 * 64)),
        (np.linspace(-3e38, 3e38, 48 * 64, dtype=np.float64).astype(np.float32), np.linspace(0, 255, 48 * 64)),
        (np.linspace(0, 65535, 48 * 64, dtype=np.int32), np.linspace(0, 255, 48 * 64)),
        (np.linspace(-32768, 32767, 48 * 64, dtype=np.int32), np.linspace(0, 255, 48 * 64)),
    ],
    ids=["unit", "8-bit", "16-bit", "signed", "extreme", "int", "signed-int"],
)
def test_a_32_bit_tiff_fills_the_range_within_one_level(
    stored: NDArray[np.generic], expected: NDArray[np.float64]
) -> None:
    pixels = decode(encode(stored.reshape(48, 64), "TIFF"))
    assert np.abs(pixels.astype(float).ravel() - expected).max() <= 1


def test_not_a_number_and_infinity_in_a_float_tiff_are_black() -> None:
    values = grey().astype(np.float32) / 255
    values[0, :3] = [np.nan, np.inf, -np.inf]
    pixels = decode(encode(values, "TIFF"))
    assert pixels[0, :3].tolist() == [0, 0, 0]
    assert far(pixels[1:], grey()[1:]) == 0


def test_a_flat_float_tiff_does_not_divide_by_zero() -> None:
    assert decode(encode(np.full((48, 64), -5, np.float32), "TIFF")).max() == 0


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
def test_transparent_rgba_lies_on_black(file_format: str) -> None:
    alpha = np.zeros((48, 64), np.uint8)
    alpha[:, 32:] = 255
    file = encode(np.dstack([rgb(), alpha]), file_format, **({"lossless": True} if file_format == "WEBP" else {}))
    pixels = decode(file)
    assert pixels[:, :32].max() == 0
    assert np.array_equal(pixels[:, 32:], rgb()[:, 32:])


def test_half_transparent_is_half_as_bright_within_one_level() -> None:
    pixels = decode(encode(np.dstack([rgb(), np.full((48, 64), 128, np.uint8)]), "PNG"))
    assert np.abs(pixels - rgb() * (128 / 255)).max() <= 1


def test_grey_with_alpha_stays_one_channel() -> None:
    alpha = np.full((48, 64), 255, np.uint8)
    alpha[:10] = 0
    image = Image.merge("LA", [Image.fromarray(grey()), Image.fromarray(alpha)])
    assert np.array_equal(decode(encode(image, "PNG")), np.where(alpha == 0, 0, grey()))


@pytest.mark.parametrize("colour", [100, 0])
def test_a_grey_transparent_colour_turns_black(colour: int) -> None:
    pixels = decode(encode(grey(), "PNG", transparency=colour))
    assert np.array_equal(pixels, np.where(grey() == colour, 0, grey()))


def test_an_rgb_transparent_colour_turns_black() -> None:
    key = tuple(int(value) for value in rgb()[5, 50])
    pixels = decode(encode(rgb(), "PNG", transparency=key))
    assert pixels[5, 50].tolist() == [0, 0, 0]
    others = (rgb() != key).any(axis=2)
    assert np.array_equal(pixels[others], rgb()[others])


def test_a_palette_gives_its_colours() -> None:
    image = Image.fromarray(rgb()).quantize(16)
    expected = np.asarray(image.convert("RGB"))
    for file_format in ("PNG", "GIF", "BMP", "TIFF"):
        assert np.array_equal(decode(encode(image, file_format)), expected), file_format


@pytest.mark.parametrize("transparency", [3, bytes([255, 255, 255, 0])], ids=["index", "table"])
def test_the_transparent_palette_entry_turns_black(transparency: int | bytes) -> None:
    image = Image.fromarray(rgb()).quantize(16)
    expected = np.asarray(image.convert("RGB")).copy()
    expected[np.asarray(image) == 3] = 0
    assert np.array_equal(decode(encode(image, "PNG", transparency=transparency)), expected)


def test_a_palette_with_alpha_lies_on_black() -> None:
    image = Image.fromarray(np.dstack([rgb(), np.zeros((48, 64), np.uint8)])).convert("PA")
    file = encode(image, "TIFF")
    assert decode(file).max() == 0


def test_one_bit_is_black_and_white() -> None:
    bits = grey() > 90
    for file_format in ("PNG", "BMP", "TIFF"):
        assert np.array_equal(decode(encode(Image.fromarray(bits), file_format)), bits * np.uint8(255)), file_format


def test_fax_compressed_tiff_is_black_and_white() -> None:
    bits = grey() > 90
    assert np.array_equal(decode(encode(Image.fromarray(bits), "TIFF", compression="group4")), bits * np.uint8(255))


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(file_format: str) -> None:
    image = Image.fromarray(rgb()).convert("CMYK")
    pixels = decode(encode(image, file_format, **({"quality": 98} if file_format == "JPEG" else {})))
    assert np.abs(pixels.astype(int) - rgb()).mean() <= 3


def test_a_colour_profile_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert np.array_equal(decode(encode(rgb(), "PNG", icc_profile=profile)), rgb())


@pytest.mark.parametrize("value", STORED)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_every_exif_orientation_comes_out_upright(file_format: str, value: int) -> None:
    options = {"JPEG": {"quality": 98}, "WEBP": {"lossless": 1}}.get(file_format, {})
    file = encode(np.ascontiguousarray(STORED[value](rgb())), file_format, exif=orientation(value), **options)
    pixels = decode(file)
    if file_format == "JPEG":
        assert np.abs(pixels.astype(int) - rgb()).mean() <= 6  # colour is subsampled
    else:
        assert np.array_equal(pixels, rgb())


@pytest.mark.parametrize("value", STORED)
def test_a_16_bit_png_is_turned_too(value: int) -> None:
    wide = np.ascontiguousarray(STORED[value](grey())).astype(np.uint16) * 257
    assert np.array_equal(decode(encode(wide, "PNG", exif=orientation(value))), grey())


@pytest.mark.parametrize("value", STORED)
def test_a_big_endian_16_bit_tiff_is_turned_too(value: int) -> None:
    stored = np.ascontiguousarray(STORED[value](grey())).astype(np.uint16) * 257
    image = Image.frombytes("I;16B", stored.shape[::-1], stored.astype(">u2").tobytes())
    assert np.array_equal(decode(encode(image, "TIFF", exif=orientation(value))), grey())


def test_transparency_survives_the_turn() -> None:
    file = encode(np.ascontiguousarray(STORED[6](grey())), "PNG", exif=orientation(6), transparency=100)
    assert np.array_equal(decode(file), np.where(grey() == 100, 0, grey()))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_upright(value: int) -> None:
    assert np.array_equal(decode(encode(grey(), "PNG", exif=orientation(value))), grey())


def test_damaged_exif_does_not_cost_the_picture() -> None:
    for damage in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage" * 9):
        assert np.array_equal(decode(encode(grey(), "PNG", exif=damage)), grey())


def test_a_gif_with_broken_later_frames_gives_its_first() -> None:
    frames = [Image.fromarray(grey()[:, ::-1]), Image.fromarray(grey()[::-1])]
    animated = encode(grey(), "GIF", save_all=True, append_images=frames, duration=40)
    second = animated.index(b"\x21\xf9\x04", animated.index(b"\x21\xf9\x04") + 8)
    for damaged in (animated, animated[: second + 30] + b"\xaa" * 300, animated[:second]):
        assert np.array_equal(decode(damaged)[:, :, 0], grey())


def test_only_the_first_page_of_a_tiff_is_read() -> None:
    other = Image.fromarray(rgb())
    file = encode(grey(), "TIFF", save_all=True, append_images=[other])
    assert np.array_equal(decode(file), grey())


def test_bytes_after_the_image_do_not_matter() -> None:
    assert np.array_equal(decode(encode(grey(), "PNG") + b"trailing"), grey())


def test_a_png_in_several_chunks_is_one_picture() -> None:
    raw = zlib.compress(b"".join(b"\0" + row.tobytes() for row in grey()))
    chunks = png_chunk(b"IDAT", raw[:50]) + png_chunk(b"IDAT", b"") + png_chunk(b"IDAT", raw[50:])
    assert np.array_equal(decode(png_header(64, 48) + chunks + png_chunk(b"IEND", b"")), grey())


def test_decoding_leaves_the_warning_filters_alone_and_passes_under_w_error() -> None:
    # A TIFF with a tag whose count is wrong makes Pillow warn; several threads decode it at once.
    program = """
import concurrent.futures, sys, warnings
from brainmri.imaging import decode
before = list(warnings.filters)
data = sys.stdin.buffer.read()
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    shapes = set(pool.map(lambda _: decode(data).shape, range(200)))
assert list(warnings.filters) == before
print(shapes)
"""
    rows = [48, 48]
    tags = {256: [64], 257: [48], 258: [8], 259: [1], 262: [1], 273: [-1], 277: [1], 278: rows, 279: [64 * 48]}
    warned = tiff(tags, grey().tobytes())
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], input=warned, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    assert run.stdout.decode().strip() == "{(48, 64)}"
