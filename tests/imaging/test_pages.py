"""Files of several pages say how many they have and which was taken; damaged ones write nothing on stderr."""

import numpy as np
import pytest
from PIL import Image

from brainmri.errors import ImageUnreadable, MalformedRequest
from brainmri.imaging import ReadOptions, read_picture
from tests.imaging.samples import encode, grey, tiff

PAGES = [grey(), grey()[:, ::-1], grey()[::-1]]


def pages(file_format: str, **options: object) -> bytes:
    return encode(
        PAGES[0], file_format, save_all=True, append_images=[Image.fromarray(p) for p in PAGES[1:]], **options
    )


@pytest.mark.parametrize("file_format", ["TIFF", "GIF", "PNG", "WEBP"])
def test_the_first_page_is_taken_and_all_are_counted(file_format: str) -> None:
    picture = read_picture(pages(file_format, **({"lossless": True} if file_format == "WEBP" else {})))
    assert (picture.source.frames, picture.source.frame) == (3, 0)
    first = picture.pixels if picture.pixels.ndim == 2 else picture.pixels[:, :, 0]
    assert np.array_equal(first, PAGES[0])


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_another_page_of_a_tiff_is_taken_when_asked_for(compression: str | None) -> None:
    picture = read_picture(pages("TIFF", compression=compression), options=ReadOptions(frame=2))
    assert np.array_equal(picture.pixels, PAGES[2])
    assert (picture.source.frames, picture.source.frame) == (3, 2)


def test_a_page_that_does_not_exist_is_refused_with_the_number_there_is() -> None:
    with pytest.raises(MalformedRequest, match="Frame 3 was asked for; the file has 3 frames") as caught:
        read_picture(pages("TIFF"), options=ReadOptions(frame=3))
    assert caught.value.limit == "3 frames"


def test_a_later_frame_of_an_animation_is_refused_with_the_way_out() -> None:
    with pytest.raises(MalformedRequest, match="of a GIF file only frame 0 is read"):
        read_picture(pages("GIF"), options=ReadOptions(frame=1))


def test_one_page_is_one_frame() -> None:
    for file_format in ("JPEG", "PNG", "BMP"):
        source = read_picture(encode(grey(), file_format)).source
        assert (source.frames, source.frame) == (1, 0)


def test_a_fax_of_noise_is_refused_and_writes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(3).bytes(60_000)
    tags = {256: [2500], 257: [8_000], 258: [1], 259: [3], 262: [0], 273: [-1], 277: [1], 278: [8_000]}
    with pytest.raises(ImageUnreadable, match="damaged"):
        read_picture(tiff({**tags, 279: [len(noise)]}, noise))
    assert capfd.readouterr() == ("", "")


def test_a_damaged_strip_of_a_tiff_is_refused_and_writes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(4)
    refused = 0
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "group3", "group4", "jpeg"):
        picture = grey() > 90 if compression.startswith("group") else grey()
        file = bytearray(encode(Image.fromarray(picture), "TIFF", compression=compression))
        for place in rng.integers(8, 200, 20):
            damaged = file.copy()
            damaged[place % len(file)] ^= 0xFF
            try:
                read_picture(bytes(damaged))
            except ImageUnreadable:
                refused += 1
    assert refused > 20
    assert capfd.readouterr() == ("", "")
