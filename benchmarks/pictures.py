"""Images to send: real slices where BRAINMRI_DATA is set, made ones otherwise, and damaged ones."""

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from brainmri.model.contract import LABELS


def pictures(count: int, side: int) -> tuple[str, list[bytes]]:
    """Returns where the images come from, and `count` JPEG files with `side` pixels on the longer side.

    Real slices of that size are sent as they are; others are resized and compressed again.
    """
    folder = os.environ.get("BRAINMRI_DATA")
    if not folder:
        return f"made, {side} px", [_jpeg(_made(number, side)) for number in range(count)]
    files = _real(Path(folder) / "brain-mri" / "Testing", count)
    return f"slices of the test set, {side} px", [_resized(file.read_bytes(), side) for file in files]


def damaged(images: Sequence[bytes]) -> list[bytes]:
    """Returns the first half of each file, which no decoder may take for an image."""
    return [image[: len(image) // 2] for image in images]


def _real(testing: Path, count: int) -> list[Path]:
    # Evenly from every class, so that the answers differ.
    chosen: list[Path] = []
    for label in LABELS:
        files = sorted((testing / label).glob("*.jpg"))
        wanted = -(-count // len(LABELS))
        chosen.extend(files[:: max(1, len(files) // wanted)][:wanted])
    if len(chosen) < count:
        raise SystemExit(f"{testing} holds too few slices: {len(chosen)}, and {count} are needed.")
    return chosen[:count]


def _resized(data: bytes, side: int) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        if max(image.size) == side:
            return data
        scale = side / max(image.size)
        return _jpeg(image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC))


def _made(number: int, side: int) -> Image.Image:
    """Returns a smooth blob with texture, about as hard to compress as a slice."""
    random = np.random.default_rng(number)
    rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    radius = np.hypot(rows / random.uniform(0.6, 0.9), columns / random.uniform(0.5, 0.8))
    light = np.clip(1.2 - radius, 0, 1) * random.uniform(120, 250) + random.normal(0, 8, (side, side)) * (radius < 1)
    return Image.fromarray(np.clip(light, 0, 255).astype(np.uint8), "L")


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()
