"""The images that are sent: files from a folder, or drawn ones that resemble a slice."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

SIDE = 299
"""Pixels of a side of the tensor that the service takes."""

_SUFFIXES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


class NoImages(ValueError):
    """The folder holds too few images; the message says how many."""


@dataclass(frozen=True)
class Picture:
    """One image.

    Attributes:
        name: Unique among those sent.
        file: The encoded image.
        content_type: Its media type.
    """

    name: str
    file: bytes
    content_type: str = "image/jpeg"

    @cached_property
    def tensor(self) -> bytes:
        """The pixels as a client would send them: uint8 `[299, 299, 3]`, padded to a square, bilinear."""
        with Image.open(io.BytesIO(self.file)) as image:
            colour = image.convert("RGB")
        side = max(colour.size)
        square = Image.new("RGB", (side, side))
        square.paste(colour, ((side - colour.width) // 2, (side - colour.height) // 2))
        return square.resize((SIDE, SIDE), Image.Resampling.BILINEAR).tobytes()


def load_pictures(folder: str, count: int, side: int) -> list[Picture]:
    """Returns the images to send.

    Args:
        folder: Of JPEG and PNG files, searched with its folders; empty for drawn ones.
        count: How many.
        side: Pixels of a side of drawn ones.

    Raises:
        NoImages: The folder holds fewer.
    """
    if not folder:
        return [Picture(f"drawn-{number}", as_jpeg(draw_slice(number, side))) for number in range(count)]
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in _SUFFIXES)
    if len(files) < count:
        raise NoImages(f"{folder} holds {len(files)} JPEG and PNG files, and {count} are asked for (--image-count).")
    # Evenly over the sorted paths, so that every folder gives some.
    chosen = [files[number * len(files) // count] for number in range(count)]
    return [
        Picture(str(path.relative_to(folder)), path.read_bytes(), _SUFFIXES[path.suffix.lower()]) for path in chosen
    ]


def draw_slice(number: int, side: int) -> Image.Image:
    """Draws an axial slice from simple shapes: scalp, skull, folded cortex, ventricles, on some a bright lesion."""
    random = np.random.default_rng(number)
    rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    tilt = random.uniform(-0.15, 0.15)
    y, x = rows * np.cos(tilt) - columns * np.sin(tilt), rows * np.sin(tilt) + columns * np.cos(tilt)
    tall, wide = random.uniform(0.82, 0.92), random.uniform(0.66, 0.76)
    radius = np.hypot(y / tall, x / wide)
    folds = _smooth_noise(random, side, side / 60)
    light = np.where(radius < 0.88, 95 + 22 * np.sign(folds) * np.minimum(1, np.abs(folds)) * (radius > 0.35), 0.0)
    light = np.where((radius >= 0.88) & (radius < 0.94), 18, light)
    light = np.where((radius >= 0.94) & (radius < 1.0), 150, light)
    for sign in (-1, 1):
        light = np.where(_ellipse(y + 0.02, x - sign * 0.1, 0.24, 0.05, sign * 0.25) < 1, 35, light)
    light = np.where((np.abs(x) < 0.012) & (radius < 0.86), 45, light)
    if number % 4:
        _add_lesion(light, random, y, x)
    light += random.normal(0, 5, light.shape) * (radius < 1)
    image = Image.fromarray(np.clip(light, 0, 255).astype(np.uint8), "L")
    return image.filter(ImageFilter.GaussianBlur(side / 300))


def _add_lesion(
    light: NDArray[np.float64], random: np.random.Generator, y: NDArray[np.float64], x: NDArray[np.float64]
) -> None:
    angle, distance, size = random.uniform(0, 2 * np.pi), random.uniform(0.2, 0.45), random.uniform(0.08, 0.18)
    spot = _ellipse(
        y - distance * np.sin(angle), x - distance * np.cos(angle), size, size * random.uniform(0.7, 1), angle
    )
    light[spot < 1] = random.uniform(170, 220)
    light[spot < 0.4] = random.uniform(90, 200)


def _ellipse(
    y: NDArray[np.float64], x: NDArray[np.float64], tall: float, wide: float, angle: float
) -> NDArray[np.float64]:
    """Returns the squared radius in units of the ellipse's half axes."""
    along, across = y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)
    squared: NDArray[np.float64] = (along / tall) ** 2 + (across / wide) ** 2
    return squared


def _smooth_noise(random: np.random.Generator, side: int, scale: float) -> NDArray[np.float64]:
    """Returns noise of about unit size whose detail is `scale` pixels."""
    small = max(2, round(side / scale))
    coarse = Image.fromarray(random.normal(0, 1, (small, small)).astype(np.float32), "F")
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.float64) * 1.5


def as_jpeg(image: Image.Image) -> bytes:
    """Returns the image as a JPEG file of quality 90."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def multipart(field: str, pictures: Sequence[Picture], boundary: str) -> bytes:
    """Returns a multipart form with one file for each picture."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{number}"\r\n'
        f"Content-Type: {picture.content_type}\r\n\r\n".encode()
        + picture.file
        + b"\r\n"
        for number, picture in enumerate(pictures)
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode()
