"""Random variation of how a slice was recorded and stored: sharpness, tone, noise.

NumPy and Pillow only, so that every Keras back end sees the same images.
Scanners and copies of the dataset differ in size and sharpness: rescaling, blur and JPEG quality vary with the rest.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from pydantic import Field

from training.fit.part import Part


class Augmentation(Part):
    """How far inputs vary. Zero switches a variation off.

    Attributes:
        resharpen: Probability that the image is scaled down by up to 0.4 and back.
        blur: Probability of a Gaussian blur with a radius of up to 1.2 pixels.
        jpeg: Probability of a JPEG round trip at quality 40 to 95.
        gamma: Largest relative change of the exponent.
        brightness: Largest relative change of all values.
        contrast: Largest relative change of the distance from middle grey.
        noise: Largest standard deviation of added Gaussian noise, in grey levels.
    """

    LATER = frozenset({"contrast"})

    resharpen: float = Field(default=0.3, ge=0, le=1)
    blur: float = Field(default=0.2, ge=0, le=1)
    jpeg: float = Field(default=0.3, ge=0, le=1)
    gamma: float = Field(default=0.3, ge=0, lt=1)
    brightness: float = Field(default=0.15, ge=0, lt=1)
    contrast: float = Field(default=0.0, ge=0, lt=1)
    noise: float = Field(default=6.0, ge=0)


def augment(image: NDArray[np.float32], how: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Returns one random variation of a grey image `[H, W]` with values in [0, 255], of the same shape."""
    softened = _soften(Image.fromarray(np.rint(image).astype(np.uint8)), how, rng)
    return _add_noise(np.asarray(_tone(softened, how, rng)), how, rng)


def _soften(image: Image.Image, how: Augmentation, rng: np.random.Generator) -> Image.Image:
    if rng.random() < how.resharpen:
        factor = rng.uniform(0.4, 1.0)
        smaller = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BILINEAR)
        image = smaller.resize(image.size, Image.Resampling.BICUBIC)
    if rng.random() < how.blur:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    if rng.random() < how.jpeg:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(40, 96)))
        image = Image.open(file)
        image.load()
    return image


def _tone(image: Image.Image, how: Augmentation, rng: np.random.Generator) -> Image.Image:
    exponent = rng.uniform(1 - how.gamma, 1 + how.gamma)
    factor = rng.uniform(1 - how.brightness, 1 + how.brightness)
    levels = 255 * factor * (np.arange(256) / 255) ** exponent
    if how.contrast:
        levels = 127.5 + rng.uniform(1 - how.contrast, 1 + how.contrast) * (levels - 127.5)
    return image.point(np.rint(np.clip(levels, 0, 255)).astype(np.uint8).tolist())


def _add_noise(pixels: NDArray[np.uint8], how: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    deviation = rng.uniform(0, how.noise)
    if deviation < 1:
        return pixels
    noise = rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(deviation)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)
