"""A loaded Pillow image of any mode to upright 8-bit grey or RGB pixels."""

import contextlib

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

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
# 65535 / 255 = 257: the nearest of the 256 greys for each of the 65536.
_FROM_16_BIT = np.rint(np.arange(65536) / 257).astype(np.uint8)


def pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    """Returns uint8 `[H, W]` for a grey image and `[H, W, 3]` (RGB) otherwise, transparent parts on black.

    ICC profiles are ignored: scanners write none, and the training set was decoded without them.

    Raises:
        Exception: Whatever Pillow raises for a mode it cannot convert.
    """
    upright = _upright(image)
    if upright.mode in _GREY_16_BIT:
        return _from_16_bit(np.asarray(upright), upright.info.get("transparency"))
    if upright.mode in ("I", "F"):
        return _from_32_bit(np.asarray(upright))
    grey = upright.mode in _GREY
    if upright.mode == "1":
        upright = upright.convert("L")
    if upright.has_transparency_data:
        upright = _on_black(upright)
    if grey and upright.mode != "L":
        upright = upright.getchannel(0)
    if upright.mode not in ("L", "RGB"):
        upright = upright.convert("RGB")
    return np.asarray(upright, dtype=np.uint8)


def _upright(image: Image.Image) -> Image.Image:
    # `ImageOps.exif_transpose` also rewrites the EXIF block, copies an upright image, and fails on damaged EXIF.
    orientation = None
    with contextlib.suppress(Exception):
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    if orientation not in _UPRIGHT:
        return image
    turned = image.transpose(_UPRIGHT[orientation])
    turned.info = image.info
    return turned


def _on_black(image: Image.Image) -> Image.Image:
    # The background of an MRI slice is black.
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, image if image.mode == "RGBA" else image.convert("RGBA")).convert("RGB")


def _from_16_bit(values: NDArray[np.generic], transparent: object) -> NDArray[np.uint8]:
    scaled: NDArray[np.uint8] = _FROM_16_BIT[values]
    if isinstance(transparent, int):
        scaled[values == transparent] = 0
    return scaled


def _from_32_bit(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    # Floats within [0, 1] are taken as such, others as 8 or 16 bit greys, and what fits neither as its own range.
    wide = np.nan_to_num(values.astype(np.float32), copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(wide.min()), float(wide.max())
    if low < 0 or high > 65535:
        scale, offset = 255 / ((high - low) or 1), low
    else:
        is_float = np.issubdtype(values.dtype, np.floating)
        full_scale = 1 if is_float and high <= 1 else 255 if high <= 255 else 65535
        scale, offset = 255 / full_scale, 0.0
    # In place: an image at the pixel limit takes 200 MB as it is. Scaled first, so that no difference overflows.
    wide *= np.float32(scale)
    wide -= np.float32(offset * scale)
    return np.clip(np.rint(wide, out=wide), 0, 255, out=wide).astype(np.uint8)
