"""DICOM objects: every transfer syntax, polarity and window gives the picture; all but an MR of a head is refused."""

import struct
import time
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from brainmri.errors import ImageTooLarge, ImageUnreadable, InvalidInput, MalformedRequest, NotBrainMR
from brainmri.imaging import DecodeLimits, ReadOptions, Scaling, read_picture
from tests.imaging import dicom_samples as samples
from tests.imaging.dicom_samples import dataset, encoded, every_syntax, file, twelve_bits
from tests.imaging.samples import encode, grey

MUTATIONS = 40


def expected(values: NDArray[Any] | None = None, full: int = 4095) -> NDArray[Any]:
    return np.rint((twelve_bits() if values is None else values) * (255 / full))


@pytest.mark.parametrize("name", every_syntax())
def test_every_transfer_syntax_gives_the_same_picture(name: str) -> None:
    picture = read_picture(every_syntax()[name])
    assert np.array_equal(picture.pixels, expected())
    source = picture.source
    assert (source.format, source.mode, source.bits, source.frames, source.frame) == ("DICOM", "MONOCHROME2", 12, 1, 0)
    assert source.scaling == Scaling("bit_length", 0, 4095)


def test_baseline_jpeg_gives_the_picture_within_its_loss() -> None:
    picture = read_picture(encoded(grey(), encode(grey(), "JPEG", quality=98), samples.JPEG))
    assert np.abs(picture.pixels.astype(int) - grey()).mean() <= 2


def test_extended_jpeg_of_twelve_bits_gives_the_picture_within_its_loss() -> None:
    codestream = imagecodecs.jpeg8_encode(twelve_bits(), level=98, bitspersample=12)
    picture = read_picture(encoded(twelve_bits(), codestream, samples.EXTENDED))
    assert np.abs(picture.pixels - expected()).mean() <= 2


@pytest.mark.parametrize("syntax", [samples.IMPLICIT, samples.EXPLICIT])
def test_an_object_without_preamble_or_meta_information_is_read(syntax: str) -> None:
    without_preamble = file(dataset(twelve_bits(), syntax), preamble=False)
    without_meta = file(dataset(twelve_bits(), syntax), meta=False)
    for data in (without_preamble, without_meta):
        assert np.array_equal(read_picture(data).pixels, expected())


def test_monochrome1_is_turned_round() -> None:
    picture = read_picture(file(dataset(twelve_bits(), PhotometricInterpretation="MONOCHROME1")))
    assert np.array_equal(picture.pixels, np.rint((4095 - twelve_bits().astype(float)) * (255 / 4095)))
    assert (picture.source.scaling.low, picture.source.scaling.high) == (4095, 0)


def test_the_first_window_decides_what_is_black_and_white() -> None:
    picture = read_picture(file(dataset(twelve_bits(), WindowCenter=["1000", "5"], WindowWidth=["801", "9"])))
    assert picture.source.scaling == Scaling("window", 599.5, 1399.5)
    shown = np.clip((twelve_bits() - 599.5) / 800 * 255, 0, 255)
    assert np.abs(picture.pixels - shown).max() <= 0.51


def test_a_window_beside_all_values_is_left_out() -> None:
    picture = read_picture(file(dataset(twelve_bits(), WindowCenter="90000", WindowWidth="10")))
    assert picture.source.scaling.rule == "bit_length"


def test_signed_values_are_rescaled_before_the_window() -> None:
    stored = twelve_bits().astype(np.int16) - 1000
    ds = dataset(stored, RescaleSlope="2", RescaleIntercept="2000", WindowCenter="4095.5", WindowWidth="8191")
    assert np.array_equal(read_picture(file(ds)).pixels, expected())


def test_signed_values_of_twelve_bits_keep_their_sign() -> None:
    stored = (twelve_bits().astype(np.int16) - 2048) & 0xFFF
    ds = dataset(stored.astype(np.uint16), PixelRepresentation=1)
    picture = read_picture(file(ds))
    low = int(twelve_bits().min())
    assert picture.source.scaling == Scaling("value_range", low - 2048, 2047)
    assert np.array_equal(picture.pixels, np.rint((twelve_bits() - float(low)) * (255 / (4095 - low))))


def test_a_palette_gives_its_colours() -> None:
    ds = dataset(grey(), PhotometricInterpretation="PALETTE COLOR")
    for number, colour in enumerate(("Red", "Green", "Blue")):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        table = (np.arange(256) * 257 // (number + 1)).astype("<u2")
        setattr(ds, f"{colour}PaletteColorLookupTableData", table.tobytes())
    picture = read_picture(file(ds))
    for number in range(3):
        assert np.abs(picture.pixels[:, :, number].astype(int) - grey() // (number + 1)).max() <= 1


def test_the_middle_frame_is_taken_unless_another_is_asked_for() -> None:
    frames = np.stack([np.full((48, 64), 40 * number, np.uint8) for number in range(5)])
    data = file(dataset(frames))
    usual, last = read_picture(data), read_picture(data, options=ReadOptions(frame=4))
    assert (usual.source.frames, usual.source.frame, int(usual.pixels[0, 0])) == (5, 2, 80)
    assert (last.source.frame, int(last.pixels[0, 0])) == (4, 160)
    with pytest.raises(MalformedRequest, match="Frame 5 was asked for; the file has 5 frames"):
        read_picture(data, options=ReadOptions(frame=5))


@pytest.mark.parametrize(
    ("elements", "found"),
    [
        ({"Modality": "CT"}, "of the modality CT;"),
        ({"Modality": "CT", "BodyPartExamined": "CHEST"}, "of the modality CT and of the body part CHEST;"),
        ({"BodyPartExamined": "knee"}, "of the body part KNEE;"),
        ({"Modality": "SECRET"}, "of another modality than MR;"),
    ],
)
def test_another_modality_or_body_part_is_refused_unless_forced(elements: dict[str, str], found: str) -> None:
    data = file(dataset(twelve_bits(), **elements))
    with pytest.raises(NotBrainMR, match=found) as caught:
        read_picture(data)
    assert "SECRET" not in caught.value.message
    assert np.array_equal(read_picture(data, options=ReadOptions(force=True)).pixels, expected())


@pytest.mark.parametrize("elements", [{"Modality": None, "BodyPartExamined": None}, {"BodyPartExamined": "HEAD"}])
def test_what_is_absent_or_a_head_is_answered(elements: dict[str, Any]) -> None:
    assert np.array_equal(read_picture(file(dataset(twelve_bits(), **elements))).pixels, expected())


def test_too_many_pixels_are_refused_from_the_header() -> None:
    ds = dataset(twelve_bits())
    ds.Rows = ds.Columns = 20_000
    with pytest.raises(ImageTooLarge, match="400000000 pixels; at most 25000000"):
        read_picture(file(ds))


def test_a_codestream_larger_than_the_object_declares_is_refused_before_decoding() -> None:
    huge = bytearray(imagecodecs.jpeg2k_encode(twelve_bits(), codecformat="j2k", reversible=True))
    struct.pack_into(">II", huge, 8, 60_000, 60_000)
    with pytest.raises(ImageUnreadable, match="declares 64x48 pixels"):
        read_picture(encoded(twelve_bits(), bytes(huge), samples.JPEG_2000))
    with pytest.raises(ImageUnreadable, match="declares 64x48 pixels"):
        read_picture(encoded(grey(), encode(np.zeros((640, 480), np.uint8), "JPEG"), samples.JPEG))


def test_a_deflated_bomb_is_refused() -> None:
    whole = file(dataset(twelve_bits(), samples.DEFLATED))
    start = 144 + struct.unpack_from("<I", whole, 140)[0]
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(deflater.compress(bytes(2**20)) for _ in range(300)) + deflater.flush()
    with pytest.raises(ImageTooLarge, match="deflated DICOM object has more than"):
        read_picture(whole[:start] + bomb)


def test_runs_longer_than_the_picture_write_no_more_than_the_picture() -> None:
    bomb = struct.pack("<16I", 2, 64, 64 + 400_000, *[0] * 13) + b"\x81\x01" * 400_000
    data = encoded(twelve_bits(), bomb, samples.RLE)
    started = time.process_time()
    pixels = read_picture(data).pixels
    assert pixels.shape == (48, 64)
    assert time.process_time() - started < 2


def test_a_length_that_lies_is_refused_soon() -> None:
    data = file(dataset(twelve_bits()))
    at = data.rindex(b"\xe0\x7f\x10\x00")
    for length in (0, 100, 2**31, 2**32 - 2):
        started = time.process_time()
        with pytest.raises(ImageUnreadable):
            read_picture(data[: at + 8] + struct.pack("<I", length) + data[at + 12 :])
        assert time.process_time() - started < 1


def test_an_object_without_pixels_says_so() -> None:
    ds = dataset(twelve_bits())
    del ds.PixelData
    with pytest.raises(ImageUnreadable, match="holds no pixels"):
        read_picture(file(ds))


def test_a_video_is_refused_with_the_way_out() -> None:
    with pytest.raises(ImageUnreadable, match="Save it uncompressed"):
        read_picture(encoded(grey(), b"\0\0\0\x01", "1.2.840.10008.1.2.4.102"))


@pytest.mark.parametrize("name", every_syntax())
def test_damaged_objects_give_pixels_or_our_error_soon(name: str) -> None:
    data = every_syntax()[name]
    rng = np.random.default_rng(sorted(every_syntax()).index(name))
    limits = DecodeLimits(max_pixels=2_000_000)
    for number in range(MUTATIONS * 6):
        damaged = np.frombuffer(data, np.uint8).copy()
        places = rng.integers(128, min(len(data), 900) if number % 2 else len(data), rng.integers(1, 9))
        damaged[places] ^= rng.integers(1, 256, len(places), dtype=np.uint8)
        started = time.process_time()
        try:
            pixels = read_picture(damaged.tobytes(), limits, ReadOptions(force=True)).pixels
        except InvalidInput:
            pass
        else:
            assert pixels.dtype == np.uint8
        assert time.process_time() - started < 2, f"{name}, mutation {number}"


def test_no_element_of_the_patient_reaches_an_error_a_log_or_the_answer(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    ds = dataset(twelve_bits())
    for name in ("PatientName", "PatientID", "StudyDescription", "InstitutionName", "AccessionNumber", "ImageComments"):
        setattr(ds, name, f"MARK {name}")
    ds.PatientBirthDate, ds.StudyInstanceUID, ds.PatientAge = "MARKDATE", "1.2.MARK", "MARKAGE"
    ds.BodyPartExamined = ds.PhotometricInterpretation = ds.Modality = "MARKTERM"
    data = file(ds)
    shown = []
    for damaged in (data, data[:-500], data.replace(b"MARK Pat", b"\xff\xffMARK P"), data[: len(data) // 8]):
        for force in (False, True):
            try:
                shown.append(repr(read_picture(damaged, options=ReadOptions(force=force)).source))
            except InvalidInput as error:
                shown.append(f"{error.message} {error.limit} {error.__cause__!r}")
    assert len(shown) == 8
    assert "MARK" not in " ".join(shown) + caplog.text + "".join(capfd.readouterr())


def test_pixels_are_those_that_pydicom_gives() -> None:
    path = pydicom.data.get_testdata_file("MR_small.dcm")
    assert isinstance(path, str)
    ds = pydicom.dcmread(path)
    low, high = float(ds.WindowCenter) - ds.WindowWidth / 2, float(ds.WindowCenter) + ds.WindowWidth / 2 - 1
    picture = read_picture(Path(path).read_bytes(), options=ReadOptions(force=True))
    shown = np.clip((ds.pixel_array - low) / (high - low) * 255, 0, 255)
    assert np.abs(picture.pixels - shown).max() <= 1


def test_file_meta_information_of_very_many_elements_is_not_walked() -> None:
    whole, empty = file(dataset(twelve_bits())), b"\x02\0\x02\0UI\0\0"
    few, many = (whole[:132] + number * empty + whole[132:] for number in (200, 2_000_000))
    assert np.array_equal(read_picture(few).pixels, expected())
    begun = time.process_time()
    with pytest.raises(ImageUnreadable, match="more than 256 elements") as caught:
        read_picture(many)
    assert caught.value.limit == "256 elements"
    assert time.process_time() - begun < 0.5
