"""Colours of 16 bits a sample, of which Pillow keeps the upper 8: a picture of 12 bits would come out nearly black."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainmri.errors import ImageUnreadable
from brainmri.imaging.formats import is_png
from brainmri.imaging.greys import declared_scaling, scaling_of, significant_bits, to_8_bits
from brainmri.imaging.pixels import Converted, turned_upright

_BITS_PER_SAMPLE, _SAMPLE_FORMAT, _PHOTOMETRIC = 258, 339, 262
_RGB = 2
_UNSIGNED = 1
_PNG_TYPES = (2, 4, 6)
"""Colour types of PNG other than grey and palettes: RGB, grey with alpha, RGB with alpha."""


def is_wide_colour(image: Image.Image, data: bytes) -> bool:
    """Tells whether an opened PNG or TIFF has 16 bits in each of several samples."""
    if is_png(data):
        return data[24:25] == b"\x10" and data[25] in _PNG_TYPES
    if image.format != "TIFF":
        return False
    tags: Any = getattr(image, "tag_v2", {})
    bits, formats = tags.get(_BITS_PER_SAMPLE, ()), tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))
    return tags.get(_PHOTOMETRIC) == _RGB and bits in ((16,) * 3, (16,) * 4) and set(formats) == {_UNSIGNED}


def wide_colours(image: Image.Image, data: bytes, frame: int) -> Converted:
    """Converts such a picture: all of its colours by one scaling, the rule of greys; transparent parts become black.

    Args:
        image: Opened; its size has been checked.
        data: The whole file.
        frame: Which page of a TIFF.

    Raises:
        ImageUnreadable: The pixels have another size than the file says.
        Exception: Whatever the decoder raises for damaged bytes.
    """
    samples = _decoded(data, frame)
    if samples.dtype != np.uint16 or samples.ndim != 3 or samples.shape[:2] != (image.height, image.width):
        raise ImageUnreadable("The picture's pixels have another size than its header says. Send the intact file.")
    has_alpha = samples.shape[2] in (2, 4)
    colours, alpha = (samples[:, :, :-1], samples[:, :, -1]) if has_alpha else (samples, None)
    scaling = scaling_of(colours)
    pixels = to_8_bits(colours, scaling)
    if alpha is not None:
        pixels = _on_black(pixels, alpha)
    if pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    upright = turned_upright(Image.fromarray(np.ascontiguousarray(pixels)), image)
    return Converted(np.asarray(upright, dtype=np.uint8), significant_bits(colours, scaling), scaling)


def _decoded(data: bytes, frame: int) -> NDArray[np.generic]:
    import imagecodecs  # noqa: PLC0415 -- loads nothing before such a picture needs it

    return np.asarray(imagecodecs.png_decode(data) if is_png(data) else imagecodecs.tiff_decode(data, index=frame))


def _on_black(pixels: NDArray[np.uint8], alpha: NDArray[np.generic]) -> NDArray[np.uint8]:
    opacity = to_8_bits(alpha, declared_scaling(16))[:, :, np.newaxis].astype(np.uint16)
    return np.asarray((pixels * opacity + 127) // 255, np.uint8)
