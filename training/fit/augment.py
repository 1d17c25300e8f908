"""Random variation of one input: geometry, sharpness, tone, noise, cut-out.

NumPy and Pillow only, so that every Keras back end sees the same images.
Scanners and copies of the dataset differ in size and sharpness: rescaling, blur and JPEG quality vary with the rest.
"""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from pydantic import BaseModel, ConfigDict, Field


class Augmentation(BaseModel):
    """How far inputs vary. Zero switches a variation off.

    Attributes:
        rotation: Largest angle either way, in degrees.
        scale: Largest relative change of size; 0.15 zooms by 0.85 to 1.15.
        shift: Largest move along each axis, as a share of the side.
        flip: Probability of a left-right mirror image.
        resharpen: Probability that the image is scaled down by up to 0.4 and back.
        blur: Probability of a Gaussian blur with a radius of up to 1.2 pixels.
        jpeg: Probability of a JPEG round trip at quality 40 to 95.
        gamma: Largest relative change of the exponent.
        brightness: Largest relative change of all values.
        noise: Largest standard deviation of added Gaussian noise, in grey levels.
        cutout: Probability of one black rectangle with sides of up to 0.3 of the image's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rotation: float = Field(default=15.0, ge=0, le=180)
    scale: float = Field(default=0.15, ge=0, lt=1)
    shift: float = Field(default=0.08, ge=0, lt=1)
    flip: float = Field(default=0.5, ge=0, le=1)
    resharpen: float = Field(default=0.3, ge=0, le=1)
    blur: float = Field(default=0.2, ge=0, le=1)
    jpeg: float = Field(default=0.3, ge=0, le=1)
    gamma: float = Field(default=0.3, ge=0, lt=1)
    brightness: float = Field(default=0.15, ge=0, lt=1)
    noise: float = Field(default=6.0, ge=0)
    cutout: float = Field(default=0.25, ge=0, le=1)


def augment(tensor: NDArray[np.uint8], how: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Returns one random variation of a model input, uint8 `[H, W, 3]`, of the same shape."""
    is_grey = np.array_equal(tensor[..., 0], tensor[..., 1]) and np.array_equal(tensor[..., 0], tensor[..., 2])
    image = Image.fromarray(tensor[..., 0] if is_grey else tensor)
    image = _move(image, how, rng)
    image = _soften(image, how, rng)
    image = _tone(image, how, rng)
    pixels = _cut_out(_add_noise(np.asarray(image), how, rng), how, rng)
    return np.repeat(pixels[..., None], 3, axis=2) if is_grey else pixels


def _move(image: Image.Image, how: Augmentation, rng: np.random.Generator) -> Image.Image:
    angle = math.radians(rng.uniform(-how.rotation, how.rotation))
    zoom = rng.uniform(1 - how.scale, 1 + how.scale)
    shift_x, shift_y = rng.uniform(-how.shift, how.shift, 2) * image.size
    mirror = -1.0 if rng.random() < how.flip else 1.0
    centre_x, centre_y = image.width / 2, image.height / 2
    # Pillow asks where each output pixel comes from: the inverse of mirror, rotation, zoom and shift.
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    a, b, d, e = mirror * cos, mirror * sin, -sin, cos
    c = centre_x - a * (centre_x + shift_x) - b * (centre_y + shift_y)
    f = centre_y - d * (centre_x + shift_x) - e * (centre_y + shift_y)
    return image.transform(image.size, Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR)


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
    levels = np.clip(255 * factor * (np.arange(256) / 255) ** exponent, 0, 255)
    return image.point(np.rint(levels).astype(np.uint8).tolist() * len(image.getbands()))


def _add_noise(pixels: NDArray[np.uint8], how: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    deviation = rng.uniform(0, how.noise)
    if deviation < 1:
        return pixels
    noise = rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(deviation)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def _cut_out(pixels: NDArray[np.uint8], how: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    if rng.random() >= how.cutout:
        return pixels
    height, width = pixels.shape[:2]
    cut_height, cut_width = (rng.uniform(0.08, 0.3, 2) * (height, width)).astype(int)
    top, left = rng.integers(0, height - cut_height), rng.integers(0, width - cut_width)
    result = pixels.copy()
    result[top : top + cut_height, left : left + cut_width] = 0
    return result
