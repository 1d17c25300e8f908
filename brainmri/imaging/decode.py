"""Encoded bytes to 8-bit pixels, with every limit checked before the expensive step."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from brainmri.errors import EmptyImage, ExtremeAspect, ImageTooLarge, ImageUnreadable

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")
_GREY_16_BIT = ("I;16", "I;16B", "I;16L", "I;16N")
# Errors that Pillow's decoders are known to raise for damaged input.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, OverflowError, MemoryError)


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


DEFAULT_LIMITS = DecodeLimits()


def decode(data: bytes, limits: DecodeLimits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Decodes one image: the first frame, upright, 8 bits a channel, without transparency.

    A grey source stays one channel: resizing it costs a third of three equal ones, and gives the same.

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
    try:
        with warnings.catch_warnings():
            # Our own pixel limit replaces Pillow's; its notes on damaged metadata are of no use to a caller.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_geometry(image.size, limits)
                return _pixels(image)
    except Image.UnidentifiedImageError as error:
        raise ImageUnreadable(
            f"The upload is not a readable image. Send one of {', '.join(FORMATS)}.",
            limit=", ".join(FORMATS),
        ) from error
    except Image.DecompressionBombError as error:
        raise _too_many_pixels("too many", limits) from error
    except _DAMAGED as error:
        raise ImageUnreadable(
            "The image is truncated or damaged and cannot be decoded completely. Send the whole, intact file."
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


def _check_geometry(size: tuple[int, int], limits: DecodeLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise _too_many_pixels(width * height, limits)
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


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    image.seek(0)
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _GREY_16_BIT:
        return _scale_to_uint8(np.asarray(upright), full_scale=65535)
    if upright.mode in ("I", "F"):
        return _scale_wide(np.asarray(upright))
    if upright.mode == "1":
        upright = upright.convert("L")
    if upright.mode == "P" and "transparency" not in upright.info:
        upright = upright.convert("RGB")
    if upright.has_transparency_data:
        upright = _on_black(upright)
    if upright.mode not in ("L", "RGB"):
        upright = upright.convert("RGB")
    return np.asarray(upright, dtype=np.uint8)


def _on_black(image: Image.Image) -> Image.Image:
    # The background of an MRI slice is black.
    opaque = Image.new("RGBA", image.size, (0, 0, 0, 255))
    opaque.alpha_composite(image.convert("RGBA"))
    return opaque.convert("RGB")


def _scale_wide(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    # 32-bit greys: 16-bit PNGs arrive this way from some writers; floats are taken as [0, 1] or as their own range.
    wide = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if wide.min() >= 0 and wide.max() <= 1 and np.issubdtype(values.dtype, np.floating):
        return _scale_to_uint8(wide, full_scale=1)
    if wide.min() >= 0 and wide.max() <= 65535:
        return _scale_to_uint8(wide, full_scale=255 if wide.max() <= 255 else 65535)
    low, high = float(wide.min()), float(wide.max())
    return _scale_to_uint8(wide - low, full_scale=(high - low) or 1)


def _scale_to_uint8(values: NDArray[np.generic], full_scale: float) -> NDArray[np.uint8]:
    scaled = values.astype(np.float64) * (255.0 / full_scale)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
