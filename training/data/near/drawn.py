"""Images that code draws: documents, noise, blanks, gradients, patterns, phantoms. All synthetic.

Only integers and exactly rounded operations decide a pixel, so that every machine draws the same.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from training.data.near.image import DRAWN, NearImage

Pixels = NDArray[np.uint8]
_WORDS = (
    "the report of today names eleven items and one open question about delivery rooms paper lists invoice total"
    " amount due before Friday please return signed copy page number chapter method result figure table patient"
    " letter address street city phone meeting minutes agenda budget figures quarter summary appendix"
)
_SIDE = 256


def drawn_images() -> Iterator[NearImage]:
    """Yields every drawn image, the same ones each time."""
    kinds: tuple[tuple[str, int, Callable[[int, np.random.Generator], Pixels]], ...] = (
        ("document", 24, _document),
        ("noise", 12, _noise),
        ("blank", 10, _blank),
        ("gradient", 10, _gradient),
        ("pattern", 12, _pattern),
        ("phantom", 12, _phantom),
    )
    for position, (kind, count, draw) in enumerate(kinds):
        for number in range(count):
            pixels = draw(number, np.random.default_rng([position, number]))
            yield NearImage(f"{kind}/{number:02d}", kind, DRAWN, pixels)


def _document(number: int, rng: np.random.Generator) -> Pixels:
    ink, paper = ((20, 245), (235, 18))[number % 5 == 4]
    size = ((420, 594), (594, 420), (512, 512))[number % 3]
    image = Image.new("L", size, paper)
    draw = ImageDraw.Draw(image)
    (_text, _form, _chart, _receipt)[number % 4](draw, size, ink, rng)
    return np.asarray(image)


def _text(draw: ImageDraw.ImageDraw, size: tuple[int, int], ink: int, rng: np.random.Generator) -> None:
    height = int(rng.integers(10, 18))
    draw.text((40, 24), _sentence(rng, 3), fill=ink, font=ImageFont.load_default(height + 8))
    columns = int(rng.integers(1, 3))
    width = (size[0] - 80) // columns
    for column in range(columns):
        for y in range(64, size[1] - 40, height + 5):
            words = _sentence(rng, max(2, width // (height * 4)))
            draw.text((40 + column * width, y), words, fill=ink, font=ImageFont.load_default(height))


def _form(draw: ImageDraw.ImageDraw, size: tuple[int, int], ink: int, rng: np.random.Generator) -> None:
    for y in range(40, size[1] - 40, 36):
        draw.text((36, y), _sentence(rng, 2), fill=ink, font=ImageFont.load_default(13))
        draw.line((size[0] // 2, y + 16, size[0] - 36, y + 16), fill=ink)
    draw.rectangle((20, 20, size[0] - 20, size[1] - 20), outline=ink, width=2)


def _chart(draw: ImageDraw.ImageDraw, size: tuple[int, int], ink: int, rng: np.random.Generator) -> None:
    draw.line((50, 40, 50, size[1] - 50, size[0] - 30, size[1] - 50), fill=ink, width=2)
    for x in range(70, size[0] - 50, 44):
        top = int(rng.integers(60, size[1] - 80))
        draw.rectangle((x, top, x + 26, size[1] - 50), fill=int(rng.integers(60, 200)), outline=ink)
        draw.text((x, size[1] - 44), str(top), fill=ink, font=ImageFont.load_default(11))


def _receipt(draw: ImageDraw.ImageDraw, size: tuple[int, int], ink: int, rng: np.random.Generator) -> None:
    left = size[0] // 3
    for y in range(30, size[1] - 30, 20):
        draw.text((left, y), _sentence(rng, 1), fill=ink, font=ImageFont.load_default(12))
        draw.text((left + 110, y), str(int(rng.integers(1, 9999))), fill=ink, font=ImageFont.load_default(12))


def _sentence(rng: np.random.Generator, words: int) -> str:
    every = _WORDS.split()
    return " ".join(every[int(i)] for i in rng.integers(0, len(every), words))


def _noise(number: int, rng: np.random.Generator) -> Pixels:
    if number % 4 == 3:
        return rng.integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
    if number % 4 == 2:
        return np.asarray((rng.integers(0, 100, (_SIDE, _SIDE)) < 5) * 255, dtype=np.uint8)
    cells = _SIDE if number % 4 == 0 else int(rng.integers(8, 64))
    grain = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
    return np.asarray(grain.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))


def _blank(number: int, rng: np.random.Generator) -> Pixels:
    if number < 6:
        return np.full((_SIDE, _SIDE), number * 51, dtype=np.uint8)
    return np.tile(rng.integers(0, 256, 3, dtype=np.uint8), (_SIDE, _SIDE, 1))


def _gradient(number: int, rng: np.random.Generator) -> Pixels:
    ramp = np.arange(_SIDE)
    x, y = np.meshgrid(ramp, ramp)
    distance = (x - 128) ** 2 + (y - 128) ** 2
    plane = (x, y, (x + y) // 2, 255 - distance * 255 // 32768, distance * 255 // 32768)[number % 5]
    if number < 5:
        return np.asarray(plane, dtype=np.uint8)
    return np.stack([plane * int(weight) // 255 for weight in rng.integers(80, 256, 3)], axis=2).astype(np.uint8)


def _pattern(number: int, rng: np.random.Generator) -> Pixels:
    step = int(rng.integers(4, 40))
    x, y = np.meshgrid(np.arange(_SIDE), np.arange(_SIDE))
    distance = (x - 128) ** 2 + (y - 128) ** 2
    marked = (
        (x // step + y // step) % 2,
        (x // step) % 2,
        (x % step < 2) | (y % step < 2),
        (distance // (step * 128)) % 2,
        distance < (60 + step) ** 2,
        (x % (2 * step) - step) ** 2 + (y % (2 * step) - step) ** 2 < (step // 2 + 1) ** 2,
    )[number % 6]
    dark, light = (20, 220) if number < 6 else (int(rng.integers(0, 100)), int(rng.integers(120, 256)))
    return np.where(marked, light, dark).astype(np.uint8)


def _phantom(number: int, rng: np.random.Generator) -> Pixels:
    """Ellipses within ellipses, as in the phantom of Shepp and Logan (1974); the first follows its proportions."""
    image = Image.new("L", (_SIDE, _SIDE), 0)
    draw = ImageDraw.Draw(image)
    inside = (
        [(100, 60, 156, 130, 130), (78, 96, 104, 168, 40), (150, 92, 182, 172, 40), (120, 180, 136, 196, 150)]
        if number == 0
        else [
            (int(x), int(y), int(x + w), int(y + h), int(level))
            for x, y, w, h, level in zip(
                *(rng.integers(low, high, 7) for low, high in ((60, 150), (50, 160), (8, 60), (8, 70), (0, 256))),
                strict=True,
            )
        ]
    )
    draw.ellipse((40, 12, 216, 244), fill=255 if number == 0 else int(rng.integers(120, 256)))
    draw.ellipse((46, 19, 210, 237), fill=80 if number == 0 else int(rng.integers(20, 120)))
    for left, top, right, bottom, level in inside:
        draw.ellipse((left, top, right, bottom), fill=level)
    return np.asarray(image)
