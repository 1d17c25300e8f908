"""Drawn slices that a network trained on brain MRI takes for such, and a picture that it should not; all synthetic."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

SIDE = 320
VIEWS = ("axial", "sagittal", "base")
KINDS = ("ring", "ball", "knot", "sella", "nothing")
"""Of lesions; see `with_lesion`."""
_STREAMS = {"axial": 0, "sagittal": 1, "lesion": 2, "base": 3}
"""Of random numbers, so that a head and its lesion vary by themselves."""
Plane = NDArray[np.float32]
_ROWS, _COLUMNS = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)


@dataclass(frozen=True)
class Head:
    """A drawn head without a lesion: greys `[320, 320]` in [0, 255], and the brain's middle and half axes in pixels."""

    greys: Plane
    brain: Plane
    x: float
    y: float
    half_width: float
    half_height: float


def noise(rng: np.random.Generator, cells: int) -> Plane:
    """Returns smooth noise in [-0.5, 0.5] with so many cells a side."""
    grain = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
    greys: Plane = np.asarray(grain.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)
    return np.asarray(greys / 255 - 0.5, np.float32)


def ellipse(x: float, y: float, half_width: float, half_height: float, turn: float = 0.0) -> Plane:
    """Returns the distance from the middle, 1 on the ellipse; `turn` in radians."""
    across, down = _COLUMNS - x, _ROWS - y
    along = (across * np.cos(turn) + down * np.sin(turn)) / half_width
    aside = (down * np.cos(turn) - across * np.sin(turn)) / half_height
    return np.asarray(np.hypot(along, aside), np.float32)


def inside(distance: Plane, edge: float = 0.05) -> Plane:
    """Returns 1 within distance 1 and 0 outside, with a soft edge."""
    return np.asarray(np.clip((1 - distance) / edge + 0.5, 0, 1), np.float32)


def over(below: Plane, mask: Plane, greys: Plane | float) -> Plane:
    """Returns `greys` where `mask` is 1 and what is `below` where it is 0."""
    return np.asarray(below * (1 - mask) + greys * mask, np.float32)


def axial_head(rng: np.random.Generator) -> Head:
    """Draws skull, brain, midline and ventricles from above."""
    x, y = SIDE / 2 + rng.normal(0, 4), SIDE / 2 + rng.normal(0, 5)
    width, height = rng.uniform(92, 118), rng.uniform(122, 145)
    greys = over(np.zeros((SIDE, SIDE), np.float32), inside(ellipse(x, y, width, height)), rng.uniform(90, 190))
    greys = over(greys, inside(ellipse(x, y, width - 7, height - 7)), rng.uniform(10, 35))
    width, height = width - rng.uniform(11, 16), height - rng.uniform(11, 16)
    brain = inside(ellipse(x, y, width, height))
    white = inside(ellipse(x, y, width * 0.72, height * 0.74) + 0.25 * noise(rng, 12), 0.12)
    greys = over(greys, brain, _tissue(rng, ellipse(x, y, width, height)) + white * rng.uniform(5, 35))
    middle = np.exp(-(((_COLUMNS - x) / 1.6) ** 2)) * brain * (np.abs(_ROWS - y) > rng.uniform(0, 40))
    greys = over(greys, middle * 0.8, rng.uniform(15, 40))
    for side, part in product((-1, 1), (-1, 1)):
        place = x + side * rng.uniform(9, 16), y + part * rng.uniform(16, 30)
        horn = ellipse(*place, rng.uniform(5, 9), rng.uniform(18, 32), side * part * rng.uniform(0.1, 0.45))
        greys = over(greys, inside(horn, 0.15), rng.uniform(15, 40))
    return Head(greys, brain, x, y, width, height)


def sagittal_head(rng: np.random.Generator) -> Head:
    """Draws skull, brain, stem, cerebellum and face from the side."""
    x, y = SIDE / 2 + rng.normal(0, 6), SIDE / 2 - 8 + rng.normal(0, 6)
    width, height = rng.uniform(118, 140), rng.uniform(108, 128)
    bumps = 0.06 * noise(rng, 6)
    greys = np.zeros((SIDE, SIDE), np.float32)
    face = ellipse(x - rng.uniform(25, 50), y + height * 0.72, width * 0.62, height * 0.75, 0.2) + 0.3 * noise(rng, 9)
    neck = ellipse(x + width * 0.35, y + height, width * 0.5, height * 0.7, -0.1) + 0.2 * noise(rng, 9)
    for part in (face, neck):
        greys = over(greys, inside(part), rng.uniform(40, 90) + 60 * noise(rng, 30) + 60 * noise(rng, 14))
    greys = over(greys, inside(ellipse(x, y, width, height) + bumps), rng.uniform(110, 220))
    greys = over(greys, inside(ellipse(x, y, width - 8, height - 8) + bumps), rng.uniform(8, 30))
    width, height = width - rng.uniform(13, 17), height - rng.uniform(13, 17)
    floor = np.clip((y + height * 0.5 - _ROWS + 24 * noise(rng, 8)) / 6, 0, 1)
    brain = inside(ellipse(x, y, width, height) + bumps) * floor
    tissue = _tissue(rng, ellipse(x, y, width, height))
    greys = over(greys, brain, tissue)
    greys = over(
        greys, inside(ellipse(x + 5, y + height * 0.62, rng.uniform(14, 20), height * 0.6, -0.15), 0.1), tissue
    )
    folds = tissue + 14 * np.sin(0.42 * _ROWS + 0.18 * _COLUMNS)
    little = ellipse(x + width * 0.48, y + height * 0.55, width * 0.32, height * 0.3, 0.3) + 0.15 * noise(rng, 12)
    greys = over(greys, inside(little, 0.08), folds)
    beam = np.abs(ellipse(x + 2, y + 5, width * 0.42, height * 0.32) - 1) * 6
    greys = over(greys, inside(beam, 0.3) * (y > _ROWS), tissue + rng.uniform(15, 50))
    greys = over(greys, inside(ellipse(x + 5, y + 4, width * 0.3, height * 0.14), 0.15), rng.uniform(12, 40))
    return Head(greys, np.ones_like(brain), x, y, width, height)


def base_head(rng: np.random.Generator) -> Head:
    """Draws a slice at the height of the eyes: nose and orbits in front, temporal lobes, stem and cerebellum behind."""
    x, y = SIDE / 2 + rng.normal(0, 3), SIDE / 2 + rng.normal(0, 4)
    width, height = rng.uniform(98, 116), rng.uniform(128, 142)
    greys = over(np.zeros((SIDE, SIDE), np.float32), inside(ellipse(x, y, width, height)), rng.uniform(120, 210))
    greys = over(greys, inside(ellipse(x, y, width - 7, height - 6)), rng.uniform(15, 35))
    lobes = ellipse(x, y + height * 0.2, width - 14, height * 0.74)
    tissue = _tissue(rng, lobes)
    greys = over(greys, inside(lobes) * np.clip((_ROWS - y + height * 0.3 + 10 * noise(rng, 7)) / 6, 0, 1), tissue)
    for side in (-1, 1):
        muscle = ellipse(x + side * width * 0.78, y - height * 0.28, 13, 26, side * 0.3)
        greys = over(greys, inside(muscle, 0.3), rng.uniform(50, 80) + 40 * noise(rng, 30))
        fat = ellipse(x + side * width * 0.4, y - height * 0.55, 24, 34, side * 0.35)
        greys = over(greys, inside(fat, 0.15), rng.uniform(130, 200) + 60 * noise(rng, 40))
        greys = over(
            greys, inside(ellipse(x + side * width * 0.45, y - height * 0.68, 17, 17), 0.1), rng.uniform(18, 40)
        )
        greys = over(greys, inside(ellipse(x + side * width * 0.36, y - height * 0.45, 3, 18, side * 0.3)), 60)
    nose = inside(ellipse(x, y - height * 0.62, width * 0.17, height * 0.36), 0.1)
    cells = 25 + 90 * (np.abs(noise(rng, 26)) < 0.06) + 60 * (np.abs(_COLUMNS - x) < 1.5)
    greys = over(greys, nose, cells)
    around = ellipse(x, y + height * 0.12, rng.uniform(24, 32), rng.uniform(20, 28))
    greys = over(greys, inside(around, 0.1), rng.uniform(20, 45))
    stem = ellipse(x, y + height * 0.14, rng.uniform(19, 24), rng.uniform(17, 22))
    greys = over(greys, inside(stem, 0.1), tissue)
    greys = over(greys, inside(ellipse(x, y + height * 0.31, 5, 6), 0.2), rng.uniform(20, 40))
    return Head(greys, np.ones_like(greys), x, y, width, height)


def with_lesion(head: Head, rng: np.random.Generator, kind: str) -> Plane:
    """Draws a `ring`, a `ball`, a `knot` at the base, a ball in the `sella`, or `nothing` into a head."""
    if kind == "nothing":
        return head.greys
    radius = rng.uniform(*{"ring": (22, 44), "ball": (14, 38), "knot": (8, 26), "sella": (9, 22)}[kind])
    along, down = {
        "ring": (rng.choice([-1, 1]) * rng.uniform(0.3, 0.55), rng.uniform(-0.5, 0.45)),
        "ball": (rng.uniform(-0.7, 0.7), rng.uniform(-0.7, 0.6)),
        "knot": (rng.normal(-0.08, 0.1), rng.uniform(0.05, 0.55)),
        "sella": (rng.normal(0, 0.02), rng.uniform(-0.22, -0.08)),
    }[kind]
    place = head.x + along * head.half_width, head.y + down * head.half_height
    bumps = noise(rng, 16) * (0.5 if kind == "ring" else 0.1)
    around = inside(ellipse(*place, radius * 1.6, radius * 1.5) + bumps, 0.4) * rng.uniform(0.2, 0.9)
    greys = over(head.greys, head.brain * around, rng.uniform(20, 70))
    body = inside(ellipse(*place, radius, radius * rng.uniform(0.75, 1.3)) + bumps, 0.1)
    greys = over(greys, head.brain * body, rng.uniform(110, 235) + 25 * noise(rng, 40))
    if kind != "ring":
        return greys
    core = inside(ellipse(*place, radius * 0.65, radius * 0.62) + 0.8 * bumps, 0.2)
    return over(greys, head.brain * core, rng.uniform(25, 70) + 25 * noise(rng, 40))


@dataclass(frozen=True)
class Drawing:
    """A slice that can be drawn, again and again the same.

    Attributes:
        view: One of `VIEWS`.
        kind: Of the lesion; one of `KINDS`.
        head: Another number gives another head.
        lesion: Another number gives another place and shape of the lesion in the same head.
    """

    view: str
    kind: str
    head: int
    lesion: int

    def draw(self) -> Image.Image:
        """Draws it, 320 x 320 greys."""
        rng = np.random.default_rng([_STREAMS[self.view], self.head])
        head = {"axial": axial_head, "sagittal": sagittal_head, "base": base_head}[self.view](rng)
        greys = with_lesion(head, np.random.default_rng([_STREAMS["lesion"], self.lesion]), self.kind)
        grain = rng.normal(0, rng.uniform(0, 5), greys.shape) * (greys > 8)
        uneven = greys * (1 + 0.25 * noise(rng, 4)) + grain
        image = Image.fromarray(np.clip(uneven, 0, 255).astype(np.uint8))
        return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 1.3))))


def draw_chart() -> Image.Image:
    """Draws a chart of bars: what is no brain MRI."""
    image = Image.new("L", (SIDE, SIDE), 245)
    draw = ImageDraw.Draw(image)
    for place, height in enumerate((60, 110, 85, 170, 140, 215)):
        draw.rectangle((44 + place * 43, 280 - height, 72 + place * 43, 280), fill=70 + 22 * place, outline=30)
    draw.line((30, 20, 30, 281, 306, 281), fill=30, width=3)
    return image


def _tissue(rng: np.random.Generator, distance: Plane) -> Plane:
    greys = rng.uniform(70, 115) + rng.uniform(10, 35) * noise(rng, 60) + rng.uniform(10, 45) * noise(rng, 22)
    furrows = (np.abs(noise(rng, int(rng.integers(16, 28)))) < rng.uniform(0.02, 0.06)) & (distance > 0.55)
    return np.where(furrows, greys * rng.uniform(0.3, 0.8), greys).astype(np.float32)
