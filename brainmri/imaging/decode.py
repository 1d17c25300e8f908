"""Encoded bytes to 8-bit pixels, with every limit checked before the expensive step."""

import logging
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from brainmri.blocking import NEVER, Stop, Stopped
from brainmri.errors import ImageUnreadable, InvalidInput, MalformedRequest
from brainmri.imaging.dicom import is_dicom, read_dicom
from brainmri.imaging.formats import PICTURE_FORMATS, is_png, png_significant_bits, unknown_format
from brainmri.imaging.greys import declared_scaling, finite, scaling_of
from brainmri.imaging.hostile import (
    MAX_JPEG_SCANS,
    MAX_READS_TO_COUNT,
    MAX_READS_TO_LOAD,
    MAX_READS_TO_OPEN,
    CountedReads,
    has_too_many_scans,
)
from brainmri.imaging.limits import DecodeLimits, no_such_frame
from brainmri.imaging.memory import LargeImage, decoding
from brainmri.imaging.picture import DEFAULT_OPTIONS, Header, Picture, ReadOptions, SourceImage
from brainmri.imaging.pixels import Converted, pixels_of, scaled_greys
from brainmri.imaging.tiff import WideTiff, libtiff_complaints, tile_pixels, wide_tiff
from brainmri.imaging.wide_colours import is_wide_colour, wide_colours

# Pillow warns about damaged metadata in words taken from the file. Shown, they would fill a server's log, and
# Python would remember each text for ever; with -W error they would fail the request. `catch_warnings` swaps the
# whole process's filters and so must not be used here, where many threads decode at once. One filter, set once
# and for Pillow's own modules only, is safe: the price is that importing this module silences them.
warnings.filterwarnings("ignore", module=r"PIL\.")
# Both log errors besides, such as "IDAT: incorrect data check"; whoever sent the file gets a refusal.
for _library in ("PIL", "imagecodecs"):
    logging.getLogger(_library).setLevel(logging.CRITICAL + 1)

DEFAULT_LIMITS = DecodeLimits()

_FORMATS_OF_PAGES = ("TIFF", "MPO")
"""Formats whose pages are independent. A frame of a GIF or WebP needs all that come before it."""

_DAMAGED = (
    "The image is truncated, damaged or of an unsupported kind and cannot be decoded completely."
    " Send the whole, intact file, in grey or RGB."
)


def decode(data: bytes, limits: DecodeLimits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Decodes one image; arguments and errors as in `read_picture`.

    Returns:
        uint8 pixels in [0, 255], `[H, W]` for a grey source and `[H, W, 3]` (RGB) otherwise.
    """
    return read_picture(data, limits).pixels


def read_picture(
    data: bytes,
    limits: DecodeLimits = DEFAULT_LIMITS,
    options: ReadOptions = DEFAULT_OPTIONS,
    stop: Stop = NEVER,
) -> Picture:
    """Decodes one image: one frame, upright, 8 bits a channel, without transparency.

    A grey source stays one channel: resizing it costs a third of three equal ones, and gives the same. WebP knows
    no grey, and a palette counts as colour: both give three channels, equal where the picture is grey.

    Args:
        data: A whole file of one of the formats.
        limits: What to refuse.
        options: Which frame.
        stop: Is asked while the file is read; what a codec does with all of it at once is finished.

    Raises:
        EmptyImage: `data` is empty.
        ImageTooLarge: More bytes or pixels than allowed.
        ExtremeAspect: Too small, or too long and thin.
        ImageUnreadable: Not one of the formats, truncated or damaged.
        MalformedRequest: The file has no such frame.
        NotBrainMR: A DICOM object that says it is of another modality or part of the body.
        Stopped: Nobody waits for the image any more.
    """
    limits.check_bytes(data)
    if is_dicom(data):
        return read_dicom(data, limits, options, stop)
    try:
        with libtiff_complaints() as complaints:
            picture = _read_picture(data, limits, options, stop)
        if complaints.errors:
            raise ImageUnreadable(_DAMAGED)
        return picture
    except (InvalidInput, MemoryError, LargeImage, Stopped):
        # A lack of memory is the server's fault, not the image's.
        raise
    except UnidentifiedImageError as error:
        raise unknown_format(data) from error
    except Image.DecompressionBombError as error:
        raise limits.too_many_pixels("too many") from error
    except Exception as error:
        # Pillow documents no list of what its decoders raise for damaged input; fuzzing finds a dozen types.
        raise ImageUnreadable(_DAMAGED) from error


def _read_picture(data: bytes, limits: DecodeLimits, options: ReadOptions, stop: Stop) -> Picture:
    # A later page has a directory of its own, which is read as it is.
    wide = None if options.frame else wide_tiff(data)
    file = CountedReads(data if wide is None else wide.data, MAX_READS_TO_OPEN, stop)
    with Image.open(file, formats=PICTURE_FORMATS) as image:
        frame = _choose_page(image, options)
        header_of(image, limits, wide)
        if image.format in ("JPEG", "MPO") and has_too_many_scans(data):
            raise ImageUnreadable(
                f"The JPEG has more than {MAX_JPEG_SCANS} scans. Save it again as a plain JPEG or PNG.",
                limit=f"{MAX_JPEG_SCANS} scans",
            )
        mode = image.mode if wide is None or not wide.as_bytes else f"{'F' if wide.number else 'L'};{wide.bits}"
        file.allow(MAX_READS_TO_LOAD)
        with decoding(image, stop):
            if is_wide_colour(image, data):
                converted, mode = wide_colours(image, data, frame), f"{mode};16"
            else:
                image.load()
                stop.check()
                converted = _converted(image, wide, png_significant_bits(data) if is_png(data) else None)
        file.allow(MAX_READS_TO_COUNT)
        source = SourceImage(
            format=image.format or "",
            mode=mode,
            bits=converted.bits,
            frames=_count_pages(image),
            frame=frame,
            scaling=converted.scaling,
        )
        return Picture(converted.pixels, source)


def header_of(image: Image.Image, limits: DecodeLimits, wide: WideTiff | None = None) -> Header:
    """Returns what an opened file declares, before it is decoded.

    Args:
        image: Opened and not loaded.
        limits: What to refuse.
        wide: The rewritten file behind `image`, if it is one.

    Raises:
        ImageTooLarge: More pixels than allowed.
        ExtremeAspect: Too small, or too long and thin.
    """
    width, height = (image.width if wide is None else wide.width), image.height
    limits.check_geometry(width, height, tile_pixels(image))
    if wide is not None:
        return Header(width, height, 1, -(-wide.bits // 8), frames=None)
    sample_bytes = 2 if image.mode.startswith("I;16") else 4 if image.mode in ("I", "F") else 1
    return Header(width, height, len(image.getbands()), sample_bytes, frames=None)


def _converted(image: Image.Image, wide: WideTiff | None, declared_bits: int | None) -> Converted:
    min_is_white = wide is not None and wide.min_is_white
    if wide is None or not wide.as_bytes:
        return pixels_of(image, declared_bits, min_is_white=min_is_white)
    samples = finite(wide.unpack(np.asarray(image)))
    scaling = scaling_of(samples) if wide.number else declared_scaling(wide.bits)
    return scaled_greys(samples, scaling, min_is_white=min_is_white)


def _choose_page(image: Image.Image, options: ReadOptions) -> int:
    if not options.frame:
        return 0
    pages = _count_pages(image)
    if image.format not in _FORMATS_OF_PAGES:
        raise MalformedRequest(
            f"Frame {options.frame} was asked for; of a {image.format} file only frame 0 is read. Send DICOM or TIFF,"
            " or the frame as a picture of its own."
        )
    if pages is None or options.frame >= pages:
        raise no_such_frame(options.frame, pages or 1)
    image.seek(options.frame)
    return options.frame


def _count_pages(image: Image.Image) -> int | None:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # noqa: BLE001 -- what comes after the frame that was read may be damaged in any way
        return None
