"""Pixels to the tensor that the wire and the graph speak: the only resize of the project."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 299
"""Height and width of the model's input, in pixels (Xception, Chollet 2017, arXiv:1610.02357)."""

PREPROCESSING_VERSION = "pad-bilinear-299-v1"
"""Names the decode and resize rule. Change it whenever a pixel of the result can change."""


def to_tensor(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scales an image to the model's input by an antialiased bilinear filter; proportions are kept, borders black.

    Padding rather than stretching, and bilinear rather than another filter, is decision 0003.

    Args:
        pixels: uint8 `[H, W]` (grey) or `[H, W, 3]` (RGB), values in [0, 255].

    Returns:
        uint8 `[299, 299, 3]`, contiguous; a grey source gives three equal channels.

    Raises:
        ValueError: Another dtype or shape, such as floats in [0, 1].
    """
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise ValueError(f"Expected uint8 [H, W] or [H, W, 3], got {pixels.dtype} {list(pixels.shape)}.")
    height, width = _fit(*pixels.shape[:2])
    resized = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
    tensor = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    # Scaling one grey channel and copying it costs a third of scaling three equal ones.
    tensor[top : top + height, left : left + width] = resized[:, :, None] if resized.ndim == 2 else resized
    return tensor


def _fit(height: int, width: int) -> tuple[int, int]:
    scale = SIDE / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))
