"""Encoded bytes to 8-bit pixels, with every limit checked before the expensive step."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from brainmri.errors import EmptyImage, ExtremeAspect, ImageTooLarge, ImageUnreadable, InvalidInput
from brainmri.imaging.hostile import (
    MAX_JPEG_SCANS,
    MAX_READS_TO_LOAD,
    MAX_READS_TO_OPEN,
    CountedReads,
    has_too_many_scans,
    tile_pixels,
)
from brainmri.imaging.pixels import pixels_of

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")
MOST_PIXELS = 178_956_970
"""Pillow refuses more by itself (twice its `MAX_IMAGE_PIXELS`), whatever our own limit says."""

# Pillow warns about damaged metadata in words taken from the file. Shown, they would fill a server's log, and
# Python would remember each text for ever; with -W error they would fail the request. `catch_warnings` swaps the
# whole process's filters and so must not be used here, where many threads decode at once. One filter, set once
# and for Pillow's own modules only, is safe: the price is that importing this module silences them.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True)
class DecodeLimits:
    """What `decode` refuses.

    Attributes:
        max_bytes: Largest encoded image, in bytes.
        max_pixels: Largest width times height, in pixels; read from the header, before decoding.
        max_aspect: Largest ratio of the longer to the shorter side.
        min_side: Smallest width and height, in pixels.
    """

    max_bytes: int = 16 * 2**20
    max_pixels: int = 50_000_000
    max_aspect: float = 8.0
    min_side: int = 16

    def __post_init__(self) -> None:
        """Rejects limits that `decode` could not hold."""
        if min(self.max_bytes, self.max_pixels, self.min_side) < 1 or self.max_aspect < 1:
            raise ValueError(f"Every limit must be at least 1: {self}.")
        if self.max_pixels > MOST_PIXELS:
            raise ValueError(f"max_pixels is {self.max_pixels}; at most {MOST_PIXELS} can be decoded. Lower it.")


DEFAULT_LIMITS = DecodeLimits()


def decode(data: bytes, limits: DecodeLimits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Decodes one image: the first frame, upright, 8 bits a channel, without transparency.

    A grey source stays one channel: resizing it costs a third of three equal ones, and gives the same. WebP knows
    no grey, and a palette counts as colour: both give three channels, equal where the picture is grey.

    Args:
        data: A whole JPEG, PNG, BMP, TIFF, WebP or GIF file.
        limits: What to refuse.

    Returns:
        uint8 pixels in [0, 255], `[H, W]` for a grey source and `[H, W, 3]` (RGB) otherwise.

    Raises:
        EmptyImage: `data` is empty.
        ImageTooLarge: More bytes or pixels than allowed.
        ExtremeAspect: Too small, or too long and thin.
        ImageUnreadable: Not one of the formats, truncated or damaged.
    """
    _check_bytes(data, limits)
    file = CountedReads(data, MAX_READS_TO_OPEN)
    try:
        with Image.open(file, formats=FORMATS) as image:
            _check_geometry(image, limits)
            if image.format in ("JPEG", "MPO") and has_too_many_scans(data):
                raise ImageUnreadable(
                    f"The JPEG has more than {MAX_JPEG_SCANS} scans. Save it again as a plain JPEG or PNG.",
                    limit=f"{MAX_JPEG_SCANS} scans",
                )
            file.allow(MAX_READS_TO_LOAD)
            image.load()
            return pixels_of(image)
    except (InvalidInput, MemoryError):
        # A lack of memory is the server's fault, not the image's.
        raise
    except UnidentifiedImageError as error:
        raise ImageUnreadable(
            f"The upload is not a readable image. Send one of {', '.join(FORMATS)}.",
            limit=", ".join(FORMATS),
        ) from error
    except Image.DecompressionBombError as error:
        raise _too_many_pixels("too many", limits) from error
    except Exception as error:
        # Pillow documents no list of what its decoders raise for damaged input; fuzzing finds a dozen types.
        raise ImageUnreadable(
            "The image is truncated, damaged or of an unsupported kind and cannot be decoded completely."
            " Send the whole, intact file, in grey or RGB."
        ) from error


def _check_bytes(data: bytes, limits: DecodeLimits) -> None:
    if not data:
        raise EmptyImage("The image is empty (0 bytes). Send the file's content.")
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(
            f"The image has {len(data)} bytes; at most {limits.max_bytes} are accepted. Send a smaller file.",
            limit=f"{limits.max_bytes} bytes",
        )


def _too_many_pixels(pixels: int | str, limits: DecodeLimits) -> ImageTooLarge:
    return ImageTooLarge(
        f"The image has {pixels} pixels; at most {limits.max_pixels} are accepted. Scale it down first.",
        limit=f"{limits.max_pixels} pixels",
    )


def _check_geometry(image: Image.Image, limits: DecodeLimits) -> None:
    size = width, height = image.size
    pixels = max(width * height, tile_pixels(image))
    if pixels > limits.max_pixels:
        raise _too_many_pixels(pixels, limits)
    if min(size) < limits.min_side:
        raise ExtremeAspect(
            f"The image is {width}x{height} pixels; each side needs at least {limits.min_side}. Send the whole slice.",
            limit=f"{limits.min_side} pixels a side",
        )
    if max(size) > limits.max_aspect * min(size):
        raise ExtremeAspect(
            f"The image is {width}x{height} pixels; the longer side may be at most {limits.max_aspect:g} times"
            " the shorter one. Send a single slice.",
            limit=f"aspect {limits.max_aspect:g}",
        )
