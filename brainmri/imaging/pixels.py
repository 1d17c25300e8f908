"""A loaded Pillow image of any mode to upright 8-bit grey or RGB pixels."""

import contextlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from brainmri.imaging.greys import declared_scaling, finite, scaling_of, significant_bits, to_8_bits
from brainmri.imaging.picture import AS_STORED, Scaling
from brainmri.imaging.tiff import declared_range, is_signed

_GREY_16_BIT = ("I;16", "I;16B", "I;16L", "I;16N")
_GREY = ("1", "L", "LA", "La")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Converted:
    """Pixels, and what became of their values.

    Attributes:
        pixels: uint8 `[H, W]` for a grey image and `[H, W, 3]` (RGB) otherwise.
        bits: Significant bits of one stored sample.
        scaling: How the stored values became 8 bits.
    """

    pixels: NDArray[np.uint8]
    bits: int
    scaling: Scaling


def pixels_of(image: Image.Image, declared_bits: int | None = None, *, min_is_white: bool = False) -> Converted:
    """Converts an image; transparent parts become black.

    ICC profiles are ignored: scanners write none, and the training set was decoded without them.

    Args:
        image: Loaded.
        declared_bits: How many bits of 16 the file says are significant.
        min_is_white: Whether the smallest value of more than 8 bits is white; Pillow turns round those of fewer.

    Raises:
        Exception: Whatever Pillow raises for a mode it cannot convert.
    """
    upright = turned_upright(image, image)
    wide = _wide_values(image, upright)
    if wide is not None:
        scaling = _declared(image, wide, declared_bits) or scaling_of(wide)
        return scaled_greys(wide, scaling, min_is_white=min_is_white, transparent=_transparent(upright))
    return Converted(_eight_bits(upright), 1 if image.mode == "1" else 8, AS_STORED)


def scaled_greys(
    values: NDArray[np.generic], scaling: Scaling, *, min_is_white: bool = False, transparent: int | None = None
) -> Converted:
    """Converts values of any depth.

    Args:
        values: Finite, `[H, W]`.
        scaling: How they become 8 bits.
        min_is_white: Whether the smallest value is white.
        transparent: The value that becomes black.
    """
    bits = significant_bits(values, scaling)
    if min_is_white:
        scaling = replace(scaling, low=scaling.high, high=scaling.low)
    pixels = to_8_bits(values, scaling)
    if transparent is not None:
        pixels[values == transparent] = 0
    return Converted(pixels, bits, scaling)


def _wide_values(image: Image.Image, upright: Image.Image) -> NDArray[np.generic] | None:
    """Returns the values of a grey image of other than unsigned 8 bits; None for other images."""
    if image.mode in _GREY_16_BIT:
        return np.asarray(upright).astype(np.uint16, copy=False)
    if image.mode == "L" and is_signed(image):
        return np.asarray(upright).view(np.int8)
    if image.mode not in ("I", "F"):
        return None
    values = np.asarray(upright)
    if image.mode == "I" and image.format == "TIFF" and not is_signed(image):
        # Pillow reads unsigned 32 bits into signed ones.
        values = values.view(np.uint32)
    return finite(values)


def _declared(image: Image.Image, values: NDArray[np.generic], bits: int | None) -> Scaling | None:
    span = declared_range(image)
    if span is not None and span[0] <= values.min() and values.max() <= span[1]:
        return Scaling("declared", *span)
    if values.dtype == np.int8:
        return Scaling("declared", -128 if values.min() < 0 else 0, 127)
    if bits is not None:
        # PNG wants such values scaled to all 16 bits; many writers leave them as they are.
        return declared_scaling(bits if values.max() < 2**bits else 16)
    return None


def _transparent(image: Image.Image) -> int | None:
    value = image.info.get("transparency")
    return value if isinstance(value, int) else None


def _eight_bits(upright: Image.Image) -> NDArray[np.uint8]:
    grey = upright.mode in _GREY
    if upright.mode == "1":
        upright = upright.convert("L")
    if upright.has_transparency_data and not _is_all_transparent_bitmap(upright):
        upright = _on_black(upright)
    if grey and upright.mode != "L":
        upright = upright.getchannel(0)
    if upright.mode not in ("L", "RGB"):
        upright = upright.convert("RGB")
    return np.asarray(upright, dtype=np.uint8)


def _is_all_transparent_bitmap(image: Image.Image) -> bool:
    # Writers of BMP declare a mask for the alpha channel and leave it empty: viewers show such a picture.
    return image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getbbox() is None


def turned_upright(pixels: Image.Image, image: Image.Image) -> Image.Image:
    """Returns pixels turned as the EXIF block of the opened image that they are of says."""
    # `ImageOps.exif_transpose` also rewrites the EXIF block, copies an upright image, and fails on damaged EXIF.
    orientation = None
    with contextlib.suppress(Exception):
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    if orientation not in _UPRIGHT:
        return pixels
    turned = pixels.transpose(_UPRIGHT[orientation])
    turned.info = pixels.info
    return turned


def _on_black(image: Image.Image) -> Image.Image:
    # The background of an MRI slice is black.
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, image if image.mode == "RGBA" else image.convert("RGBA")).convert("RGB")
