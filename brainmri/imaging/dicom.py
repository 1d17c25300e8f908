"""DICOM objects to pictures: one frame, in the window that its scanner chose."""

from typing import Any

from brainmri.blocking import NEVER, Stop, Stopped
from brainmri.errors import ImageUnreadable, InvalidInput, NotBrainMR
from brainmri.imaging.dicom_frames import stored_values
from brainmri.imaging.dicom_greys import to_pixels
from brainmri.imaging.dicom_header import inflated_peak, is_dicom, read_header
from brainmri.imaging.dicom_parts import other_body_part, other_modality
from brainmri.imaging.limits import DecodeLimits, no_such_frame
from brainmri.imaging.memory import LargeImage, holding
from brainmri.imaging.picture import Header, Picture, ReadOptions, SourceImage

__all__ = ["is_dicom", "read_dicom"]

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_PEAK_BYTES_OF_PIXEL = 32
"""Of one frame: 30 were measured at most, for YBR and for rescaled floats of 64 bits; greys of 16 bits take 5 to 17."""

_UNDEFINED_LENGTH = 0xFFFFFFFF
_DAMAGED = "The DICOM object is truncated, damaged or of an unsupported kind. Send the whole, intact file."


def read_dicom(data: bytes, limits: DecodeLimits, options: ReadOptions, stop: Stop = NEVER) -> Picture:
    """Decodes one frame of a DICOM object: the one that was asked for, else the middle one.

    Args:
        data: The whole object; its size has been checked.
        limits: What to refuse, by the header and before decoding.
        options: Which frame, and whether another part of the body is answered for.
        stop: Is asked before the pixels are decoded.

    Raises:
        ImageTooLarge: More pixels than allowed.
        ExtremeAspect: Too small, or too long and thin.
        ImageUnreadable: Without pixels, damaged, or compressed in a way that is not read.
        MalformedRequest: It has no such frame.
        NotBrainMR: It says that it is of another modality or part of the body, and `options.force` is not set.
        Stopped: Nobody waits for the image any more.
    """
    try:
        with holding(inflated_peak(data, limits), stop):
            return _read(data, limits, options, stop)
    except (InvalidInput, MemoryError, LargeImage, Stopped):
        raise
    except Exception:  # noqa: BLE001 -- pydicom and the decoders document no list of what they raise
        # What pydicom and its decoders raise quotes the object's elements: it must not go on as a cause.
        raise ImageUnreadable(_DAMAGED) from None


def _read(data: bytes, limits: DecodeLimits, options: ReadOptions, stop: Stop) -> Picture:
    dataset = read_header(data, limits)
    if not options.force:
        _require_head_mr(dataset)
    header = dicom_header(dataset, limits)
    frames = header.frames or 1
    frame = frames // 2 if options.frame is None else options.frame
    if frame >= frames:
        raise no_such_frame(frame, frames)
    with holding(decoding_peak(header, len(data)), stop):
        converted = to_pixels(stored_values(dataset, header, frame), dataset, header, frame)
    source = SourceImage(
        format="DICOM",
        mode=_known_photometric(dataset),
        bits=int(dataset.get("BitsStored") or converted.bits),
        frames=frames,
        frame=frame,
        scaling=converted.scaling,
    )
    return Picture(converted.pixels, source)


def decoding_peak(header: Header, size: int) -> int:
    """Returns the most memory, in bytes, that one frame takes until it is uint8 pixels; nothing is decoded.

    `tests/imaging/test_memory.py` compares it with what processes really took.

    Args:
        header: What the object declares.
        size: Of the object in bytes; the pixels of all of its frames are copied out of it.
    """
    return header.width * header.height * _PEAK_BYTES_OF_PIXEL + size


def dicom_header(dataset: Any, limits: DecodeLimits) -> Header:
    """Returns what an object declares of its pixels, before any of them is decoded.

    Raises:
        ImageUnreadable: It has no pixels, or declares them in a way that contradicts itself.
        ImageTooLarge: More pixels than allowed.
        ExtremeAspect: Too small, or too long and thin.
    """
    if not any(name in dataset for name in _PIXELS):
        raise ImageUnreadable(
            "The DICOM object holds no pixels: it may be a report, a plan or a directory. Send an image object."
        )
    raw = dataset.get_item(next(name for name in _PIXELS if name in dataset))
    if getattr(raw, "length", 0) not in (len(raw.value or b""), _UNDEFINED_LENGTH, 0):
        raise ImageUnreadable("The DICOM object ends within its pixels. Send the whole, intact file.")
    columns, rows = int(dataset.Columns), int(dataset.Rows)
    samples, bits = int(dataset.get("SamplesPerPixel") or 1), int(dataset.BitsAllocated)
    stored = int(dataset.get("BitsStored") or bits)
    frames = int(dataset.get("NumberOfFrames") or 1)
    limits.check_geometry(columns, rows)
    if samples not in (1, 3) or bits not in (1, 8, 16, 32, 64) or not 1 <= stored <= bits or frames < 1:
        raise ImageUnreadable(
            "The DICOM object declares pixels that no image has: 1 or 3 samples of 1, 8, 16, 32 or 64 bits are read."
        )
    return Header(columns, rows, samples, -(-bits // 8), frames)


def _require_head_mr(dataset: Any) -> None:
    found = [
        name
        for name in (other_modality(dataset.get("Modality")), other_body_part(dataset.get("BodyPartExamined")))
        if name
    ]
    if found:
        raise NotBrainMR(
            f"The DICOM object is {' and '.join(found)}; this model answers for MR slices of the head."
            " Send such a slice.",
            limit="MR of the head",
        )


def _known_photometric(dataset: Any) -> str:
    kind = str(dataset.get("PhotometricInterpretation", ""))
    known = ("MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
    return kind if kind in known else "unknown"
