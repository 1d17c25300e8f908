"""A small generated dataset with planted duplicates and leaks, and its arrays."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from brainmri.model.contract import LABELS
from training.data.arrays import Arrays, build_arrays
from training.data.audit import audit
from training.data.dataset import find_dataset, list_slices
from training.data.split import SplitRule, split

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SIZE = 96
PER_LABEL = {"Training": 16, "Testing": 4}


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


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 80 slices, with two planted leaks, one near-duplicate in Training and one broken file more."""
    root = tmp_path_factory.mktemp("data")
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
    original.filter(ImageFilter.GaussianBlur(0.6)).save(training / "glioma" / "Tr-glTr_0000.jpg")
    (training / "pituitary" / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    return root


@pytest.fixture(scope="session")
def arrays(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    """The generated dataset, split and decoded."""
    rows = split(audit(list_slices(dataset)), SplitRule(validation=0.2, holdout=0.2))
    return build_arrays(find_dataset(dataset), rows, "0" * 64, tmp_path_factory.mktemp("arrays"))
