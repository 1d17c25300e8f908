"""Pixels to the tensor that the wire and the graph speak: the only resize of the project."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 299
"""Height and width of the model's input, in pixels (Xception, Chollet 2017, arXiv:1610.02357)."""

PREPROCESSING_VERSION = "stretch-bilinear-299-v1"
"""Names the decode and resize rule. Change it whenever a pixel of the result can change."""


def to_tensor(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Stretches an image to the model's input with an antialiased bilinear filter.

    Stretching rather than padding, and bilinear rather than another filter, is decision 0003.

    Args:
        pixels: uint8 `[H, W]` (grey) or `[H, W, 3]` (RGB), values in [0, 255].

    Returns:
        uint8 `[299, 299, 3]`, contiguous; a grey source gives three equal channels.

    Raises:
        ValueError: Another dtype or shape, such as floats in [0, 1].
    """
    grey = pixels.ndim == 2
    if pixels.dtype != np.uint8 or not (grey or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise ValueError(f"Expected uint8 [H, W] or [H, W, 3], got {pixels.dtype} {list(pixels.shape)}.")
    resized = np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    if grey:
        resized = np.repeat(resized[:, :, None], 3, axis=2)
    return np.ascontiguousarray(resized)
