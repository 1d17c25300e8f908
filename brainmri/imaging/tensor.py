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
    resized = np.asarray(Image.fromarray(_one_channel(pixels)).resize((width, height), Image.Resampling.BILINEAR))
    tensor = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    scan = tensor[top : top + height, left : left + width]
    if resized.ndim == 3:
        scan[:] = resized
        return tensor
    # One after the other: NumPy copies one channel into all three at once five times slower.
    for channel in range(3):
        scan[:, :, channel] = resized
    return tensor


def _one_channel(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns a colour image as grey, `[H, W]`, where all channels are equal: scaling one costs a third of three.

    Most slices are saved as colour. A channel is scaled without the others, so that the result is the same.
    """
    if pixels.ndim == 2 or not _is_grey(pixels[::16, ::16]) or not _is_grey(pixels):
        return pixels
    return np.ascontiguousarray(pixels[:, :, 0])


def _is_grey(pixels: NDArray[np.uint8]) -> bool:
    return np.array_equal(pixels[:, :, 0], pixels[:, :, 1]) and np.array_equal(pixels[:, :, 1], pixels[:, :, 2])


def _fit(height: int, width: int) -> tuple[int, int]:
    scale = SIDE / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))
