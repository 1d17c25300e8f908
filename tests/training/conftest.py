"""Small generated sources with planted duplicates, mirrors and persons, and their slices."""

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from brainmri.model.contract import LABELS
from training.data.audit import ManifestRow, audit
from training.data.slices import Slices, decode_split
from training.data.sources import read_sources
from training.data.split import SplitRule, split

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SIZE = 96
PER_LABEL = {"Training": 16, "Testing": 4}
PERSONS = 6
RULE = SplitRule(validation=0.2, test=0.2)
BOX = ("box_cx", "box_cy", "box_w", "box_h")


def draw_slice(label: str, seed: int) -> Image.Image:
    """Draws a random ellipse on black, with a random texture around a mean grey level that tells the label."""
    rng = np.random.default_rng([LABELS.index(label), seed])
    level = 50 + 50 * LABELS.index(label)
    coarse = Image.fromarray(rng.integers(level - 40, level + 40, (8, 8)).astype(np.uint8))
    mask = Image.new("L", (SIZE, SIZE), 0)
    left, top, right, bottom = rng.integers(4, 20, 4)
    ImageDraw.Draw(mask).ellipse((left, top, SIZE - right, SIZE - bottom), fill=255)
    texture = coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return Image.composite(texture, Image.new("L", (SIZE, SIZE), 0), mask)


def draw_tumour(label: str, seed: int) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """Draws a slice with a bright spot, and returns the spot's centre and size in shares of the sides."""
    image = draw_slice(label, seed)
    x, y = np.random.default_rng([9, seed]).uniform(0.35, 0.65, 2)
    ImageDraw.Draw(image).ellipse([(c + d) * SIZE for d in (-0.08, 0.08) for c in (x, y)], fill=250)
    return image, (round(x, 2), round(y, 2), 0.16, 0.16)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def make_nickparvar(root: Path) -> None:
    """80 slices, two planted leaks into Testing, one near-duplicate, one mirrored copy and one broken file more."""
    for part, count in PER_LABEL.items():
        for label in LABELS:
            folder = root / "brain-mri" / part / label
            folder.mkdir(parents=True)
            for number in range(count):
                seed = number + 1000 * (part == "Testing")
                draw_slice(label, seed).save(folder / f"{part[:2]}-{label[:2]}_{number:04d}.png")
    training, testing = root / "brain-mri" / "Training", root / "brain-mri" / "Testing"
    original = draw_slice("glioma", 0)
    (testing / "glioma" / "exact.png").write_bytes((training / "glioma" / "Tr-gl_0000.png").read_bytes())
    draw_slice("notumor", 1).save(testing / "notumor" / "near.jpg", quality=60)
    original.filter(ImageFilter.GaussianBlur(0.6)).save(training / "glioma" / "Tr-glTr_9999.jpg")
    ImageOps.mirror(draw_slice("meningioma", 2)).save(training / "meningioma" / "mirrored.png")
    (training / "pituitary" / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")


def make_figshare(folder: Path) -> None:
    """Two slices of each of `PERSONS` persons with each kind of tumour."""
    rows = []
    for label in ("glioma", "meningioma", "pituitary"):
        (folder / "figshare" / label).mkdir(parents=True)
        for person in range(PERSONS):
            for number in range(2):
                identity = str(10000 + 1000 * LABELS.index(label) + 10 * person + number)
                image, box = draw_tumour(label, int(identity))
                image.save(folder / "figshare" / label / f"{identity}.jpg")
                facts = {"image_id": identity, "label": label, "person_id": f"made {label} {person}"}
                rows.append(facts | dict(zip(BOX, box, strict=True)))
    write_csv(folder / "figshare.csv", rows)


def make_br35h(folder: Path) -> None:
    """Eight groups without a tumour, each with a turned copy, and eight with a tumour of unnamed kind."""
    rows: list[dict[str, Any]] = []
    for name in ("notumor", "tumour"):
        (folder / "br35h" / name).mkdir(parents=True)
        for number in range(8):
            image, box = draw_tumour("notumor", 500 + number)
            if name == "notumor":
                image, box = draw_slice("notumor", 600 + number), ("", "", "", "")  # type: ignore[assignment]
                image.rotate(90).save(folder / "br35h" / name / f"{number}-turned.png")
            image.save(folder / "br35h" / name / f"{number}.png")
            names = [f"{name}/{number}.png", *([f"{name}/{number}-turned.png"] if name == "notumor" else [])]
            facts = {"label": name, "group": f"made {number}"} | dict(zip(BOX, box, strict=True))
            rows += [{"name": each} | facts for each in names]
    write_csv(folder / "br35h.csv", rows)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three generated sources in one data folder."""
    root = tmp_path_factory.mktemp("data")
    make_nickparvar(root)
    make_figshare(root / "sources")
    make_br35h(root / "sources")
    return root


@pytest.fixture(scope="session")
def manifest(dataset: Path) -> list[ManifestRow]:
    """The audit of the generated sources."""
    return audit(dataset, read_sources(dataset))


@pytest.fixture(scope="session")
def slices(dataset: Path, manifest: list[ManifestRow], tmp_path_factory: pytest.TempPathFactory) -> Slices:
    """The generated sources, split and decoded."""
    return decode_split(dataset, split(manifest, RULE), "0" * 64, tmp_path_factory.mktemp("slices"))
