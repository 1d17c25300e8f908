"""One frame of a DICOM object as stored values, with the size that its codestream declares checked before decoding."""

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainmri.errors import ImageUnreadable
from brainmri.imaging.dicom_header import quiet_pydicom
from brainmri.imaging.hostile import MAX_FRAGMENT_READS, CountedReads, has_too_many_scans
from brainmri.imaging.picture import Header

_BASELINE = "1.2.840.10008.1.2.4.50"
_EXTENDED, _LOSSLESS, _LOSSLESS_SV1 = "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
_JPEG_LS, _JPEG_LS_NEAR = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
_JPEG_2000, _HTJ2K = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"), "1.2.840.10008.1.2.4.20"
_RLE = "1.2.840.10008.1.2.5"
_NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})

# A start of frame of any process; C4, C8 and CC mean other things.
_STARTS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_SIZ = b"\xff\x4f\xff\x51"
_END = b"\xff\xd9"
_MOST_PADDING_BYTES = 16
_JP2 = b"\0\0\0\x0cjP  "
_MOST_BOX_BYTES = 4096
_RLE_HEADER_BYTES = 64


def stored_values(dataset: Any, header: Header, frame: int) -> NDArray[np.generic]:
    """Decodes one frame.

    Args:
        dataset: As `read_header` gives it.
        header: What it declares; within the limits.
        frame: From 0, within the object's frames.

    Returns:
        The values as stored, `[H, W]`, or `[H, W, 3]` in RGB.

    Raises:
        ImageUnreadable: A transfer syntax that is not read, or a codestream of another size than declared.
        Exception: Whatever a decoder raises for damaged bytes.
    """
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax in _NATIVE:
        pixels = quiet_pydicom().pixels
        return np.asarray(pixels.get_decoder(syntax).as_array(dataset, index=frame)[0])
    decode = _decoder(syntax, is_rgb=dataset.get("PhotometricInterpretation") == "RGB")
    source = _frame_bytes(dataset, header, frame)
    _check_codestream(source, header, syntax)
    values = decode(source, header)
    if (
        values.shape[:2] != (header.height, header.width)
        or values.size != header.height * header.width * header.channels
    ):
        raise _contradiction(values.shape[1], values.shape[0], header)
    return _signed(values, dataset)


def _decoder(syntax: str, *, is_rgb: bool) -> Callable[[bytes, Header], NDArray[np.generic]]:
    if syntax == _BASELINE:
        return lambda source, _: _decode_baseline(source, is_rgb=is_rgb)
    if syntax in (_EXTENDED, _LOSSLESS, _LOSSLESS_SV1):
        return lambda source, _: np.asarray(_codecs().jpeg8_decode(source))
    if syntax in (_JPEG_LS, _JPEG_LS_NEAR):
        return lambda source, _: np.asarray(_codecs().jpegls_decode(source))
    if syntax in _JPEG_2000 or syntax.startswith(_HTJ2K):
        return lambda source, _: np.asarray(_codecs().jpeg2k_decode(source, numthreads=1))
    if syntax == _RLE:
        return _decode_rle
    raise ImageUnreadable(
        "The DICOM object is compressed in a way that is not read here, such as video or JPIP. Save it uncompressed, or"
        " with JPEG, JPEG-LS, JPEG 2000 or RLE."
    )


def _codecs() -> Any:
    import imagecodecs  # noqa: PLC0415 -- loads nothing before a DICOM object needs it

    return imagecodecs


def _frame_bytes(dataset: Any, header: Header, frame: int) -> bytes:
    pydicom = quiet_pydicom()
    offsets = None
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    file = CountedReads(dataset.PixelData, MAX_FRAGMENT_READS)
    source = bytes(pydicom.encaps.get_frame(file, frame, number_of_frames=header.frames, extended_offsets=offsets))
    # Some writers leave the boxes of a JP2 file around the codestream.
    return source[max(0, source.find(_SIZ, 0, _MOST_BOX_BYTES)) :] if source.startswith(_JP2) else source


def _check_codestream(source: bytes, header: Header, syntax: str) -> None:
    """Refuses a codestream of another size than the object declares: it decides how much memory decoding takes."""
    if syntax == _RLE:
        return
    is_jpeg_2000 = source.startswith(_SIZ)
    size = _jpeg_2000_size(source) if is_jpeg_2000 else _jpeg_size(source)
    if size is None:
        raise ImageUnreadable(
            "The DICOM object's pixels are not a codestream of the declared kind. Send the intact file."
        )
    if size != (header.width, header.height, header.channels):
        raise _contradiction(size[0], size[1], header)
    if _END not in source.rstrip(b"\0")[-_MOST_PADDING_BYTES:]:
        raise ImageUnreadable("The DICOM object's pixels are cut off. Send the whole, intact file.")
    if not is_jpeg_2000 and has_too_many_scans(source):
        raise ImageUnreadable("The DICOM object's JPEG has too many scans. Save it again.")


def _contradiction(width: int, height: int, header: Header) -> ImageUnreadable:
    return ImageUnreadable(
        f"The DICOM object declares {header.width}x{header.height} pixels of {header.channels} samples, and its pixel"
        f" data have {width}x{height}, or other samples. Send the intact file."
    )


def _jpeg_size(source: bytes) -> tuple[int, int, int] | None:
    """Returns width, height and samples of a JPEG or JPEG-LS codestream, from its start of frame."""
    at = 2
    for _ in range(1000):
        if source[at : at + 1] != b"\xff" or at + 10 > len(source):
            return None
        marker = source[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _STARTS:
            height, width, samples = struct.unpack_from(">HHB", source, at + 5)
            return width, height, samples
        at += 2 + int.from_bytes(source[at + 2 : at + 4], "big")
    return None


def _jpeg_2000_size(source: bytes) -> tuple[int, int, int] | None:
    """Returns width, height and samples of a JPEG 2000 codestream (ISO 15444-1, A.5.1)."""
    if len(source) < 42:
        return None
    right, bottom, left, top = struct.unpack_from(">IIII", source, 8)
    (samples,) = struct.unpack_from(">H", source, 40)
    return right - left, bottom - top, samples


def _decode_baseline(source: bytes, *, is_rgb: bool) -> NDArray[np.generic]:
    with Image.open(io.BytesIO(source), formats=("JPEG",)) as image:
        if is_rgb and image.mode == "RGB" and "adobe" not in image.info and "jfif" not in image.info:
            # Without a marker, the samples of a JPEG are taken for YCbCr: asked for as that, they are not converted.
            image.draft("YCbCr", image.size)
        image.load()
        return np.asarray(image if image.mode in ("L", "RGB", "YCbCr") else image.convert("RGB"))


def _decode_rle(source: bytes, header: Header) -> NDArray[np.generic]:
    """Decodes the segments of PS3.5, Annex G: one for each byte of a sample, the highest first, as PackBits.

    Pillow's decoder never writes beyond the size that it was given, whatever the runs say.
    """
    count, *starts = struct.unpack_from("<16I", source)
    if count != header.channels * header.sample_bytes:
        raise ImageUnreadable("The DICOM object's RLE segments do not fit its samples. Send the intact file.")
    ends = [*starts[1:count], len(source)]
    size = (header.width * header.height, 1)
    segments = []
    for start, end in zip(starts[:count], ends, strict=True):
        if not _RLE_HEADER_BYTES <= start < end <= len(source):
            raise ImageUnreadable("The DICOM object's RLE segments lie outside of it. Send the intact file.")
        segments.append(np.asarray(Image.frombytes("L", size, source[start:end], "packbits", "L")).ravel())
    of_bytes = np.stack(segments, axis=-1).reshape(-1, header.channels, header.sample_bytes)[:, :, ::-1]
    values = np.ascontiguousarray(of_bytes).view(f"<u{header.sample_bytes}")
    shape = (header.height, header.width, header.channels)
    return values.reshape(shape if header.channels > 1 else shape[:2])


def _signed(values: NDArray[np.generic], dataset: Any) -> NDArray[np.generic]:
    """Returns the values as signed where the object says so and the codestream does not."""
    if dataset.get("PixelRepresentation") != 1 or values.dtype.kind != "u":
        return values
    signed = values.view(f"i{values.dtype.itemsize}")
    unused = values.dtype.itemsize * 8 - int(dataset.BitsStored)
    return np.asarray((signed << unused) >> unused) if 0 < unused < values.dtype.itemsize * 8 else signed
