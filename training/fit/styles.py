"""Variations of a slice's look, so that no look goes with one label: a scanner, a contrast or a crop tells nothing.

Every function takes and returns a grey image as float32 `[H, W]` with values in [0, 255]. Tissue stays where it is.
Sources: Fourier amplitudes (Yang and Soatto 2020, arXiv:2004.05498), random convolutions (Xu et al. 2021,
arXiv:2007.13003), random monotone curves (Ouyang et al. 2022, arXiv:2111.12525).
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from training.data.boxes import Box
from training.fit.head import head_box, tissue

Grey = NDArray[np.float32]

_EDGE = 0.02
"""Width of the soft edge of an ellipse, in shares of its half axes."""


class Styles(BaseModel):
    """How often a look is changed: probabilities for each image. Zero switches a variation off.

    Attributes:
        fourier: Low spatial frequencies take their amplitudes, in part, from an image of another source.
        skull: An ellipse inside the head is kept and all around it becomes black, as skull stripping does.
        convolution: A random 3x3 filter.
        inversion: Dark tissue becomes bright and bright tissue dark.
        bias: A smooth field of brightness, as surface coils make it.
        curve: A random monotone curve of grey values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fourier: float = Field(default=0.0, ge=0, le=1)
    skull: float = Field(default=0.0, ge=0, le=1)
    convolution: float = Field(default=0.0, ge=0, le=1)
    inversion: float = Field(default=0.0, ge=0, le=1)
    bias: float = Field(default=0.0, ge=0, le=1)
    curve: float = Field(default=0.0, ge=0, le=1)


def restyle(image: Grey, box: Box | None, other: Grey, how: Styles, rng: np.random.Generator) -> Grey:
    """Returns `image` with a random look; `other` `[H, W]` lends amplitudes, and a tumour's `box` is never cut off."""
    if rng.random() < how.skull:
        image = without_skull(image, box, rng)
    if rng.random() < how.fourier:
        image = with_amplitudes_of(image, other, rng)
    if rng.random() < how.convolution:
        image = randomly_filtered(image, rng)
    if rng.random() < how.inversion:
        image = inverted(image)
    if rng.random() < how.bias:
        image = with_bias_field(image, rng)
    if rng.random() < how.curve:
        image = with_random_curve(image, rng)
    return image


def without_skull(image: Grey, box: Box | None, rng: np.random.Generator) -> Grey:
    """Returns what lies in an ellipse inside the head, black around it; unchanged where the ellipse would cut `box`."""
    height, width = image.shape
    head = head_box(image)
    scale = rng.uniform(0.72, 0.95)
    half_x, half_y = (head.right - head.left) / 2 * scale, (head.bottom - head.top) / 2 * scale
    centre_x, centre_y = (head.left + head.right) / 2, (head.top + head.bottom) / 2
    if box is not None:
        farthest = max(
            ((x - centre_x) / half_x) ** 2 + ((y - centre_y) / half_y) ** 2
            for x in (box.left, box.right)
            for y in (box.top, box.bottom)
        )
        if farthest > 1.0:
            return image
    y, x = np.ogrid[:height, :width]
    distance = np.sqrt(((x / width - centre_x) / half_x) ** 2 + ((y / height - centre_y) / half_y) ** 2)
    return np.asarray(image * np.clip((1 - distance) / _EDGE, 0, 1), dtype=np.float32)


def with_amplitudes_of(image: Grey, other: Grey, rng: np.random.Generator) -> Grey:
    """Returns `image` with the amplitudes of its lowest frequencies moved towards those of `other`."""
    reach = max(1, round(rng.uniform(0.01, 0.05) * image.shape[0]))
    share = np.float32(rng.uniform(0.3, 1.0))
    ours, theirs = np.fft.rfft2(image), np.fft.rfft2(other)
    low = np.zeros(ours.shape, dtype=bool)
    low[:reach, :reach] = low[-reach:, :reach] = True
    amplitude = np.abs(ours[low]) * (1 - share) + np.abs(theirs[low]) * share
    ours[low] = amplitude * np.exp(1j * np.angle(ours[low]))
    return np.clip(np.fft.irfft2(ours, s=image.shape), 0, 255).astype(np.float32)


def randomly_filtered(image: Grey, rng: np.random.Generator) -> Grey:
    """Returns `image` blended with itself after a random 3x3 filter, brought back to the range of its values."""
    kernel = rng.standard_normal((3, 3)).astype(np.float32)
    kernel[1, 1] += 1
    padded = np.pad(image, 1, mode="edge")
    height, width = image.shape
    filtered = np.zeros_like(image)
    for row in range(3):
        for column in range(3):
            filtered += kernel[row, column] * padded[row : row + height, column : column + width]
    low, high = np.percentile(filtered[::4, ::4], (1, 99.5))
    filtered = np.clip((filtered - low) * (255 / max(float(high - low), 1e-3)), 0, 255)
    share = np.float32(rng.uniform(0.3, 1.0))
    return np.asarray(image * (1 - share) + filtered * share, dtype=np.float32)


def inverted(image: Grey) -> Grey:
    """Returns `image` with the grey values of tissue mirrored between their extremes; the background stays black."""
    inside = tissue(image)
    if not inside.any():
        return image
    low, high = np.percentile(image[inside], (2, 98))
    return np.where(inside, np.clip(low + high - image, 0, 255), image).astype(np.float32)


def with_bias_field(image: Grey, rng: np.random.Generator) -> Grey:
    """Returns `image` times a smooth random field between about a half and two."""
    y, x = (np.linspace(-1, 1, side, dtype=np.float32) for side in image.shape)
    a, b, c, d, e = rng.normal(0, 0.25, 5).astype(np.float32)
    across, down = x[None, :], y[:, None]
    field = np.exp(a * across + b * down + c * across * down + d * across**2 + e * down**2)
    return np.asarray(np.clip(image * field, 0, 255), dtype=np.float32)


def with_random_curve(image: Grey, rng: np.random.Generator) -> Grey:
    """Returns `image` after a random monotone curve through six points; black stays black."""
    steps = rng.dirichlet(np.full(5, 2.0))
    levels = np.concatenate([[0.0], np.cumsum(steps)]) * rng.uniform(200, 255)
    return np.interp(image, np.linspace(0, 255, 6), levels).astype(np.float32)
