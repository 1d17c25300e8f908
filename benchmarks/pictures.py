"""Images to send: real slices where BRAINMRI_DATA is set, drawn ones otherwise, and damaged ones."""

import io
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from brainmri.model.contract import LABELS
from loadtests.pictures import as_jpeg, draw_slice


def pictures(count: int, side: int) -> tuple[str, list[bytes]]:
    """Returns where the images come from, and `count` JPEG files with `side` pixels on the longer side.

    Real slices of that size are sent as they are; others are resized and compressed again.
    """
    folder = os.environ.get("BRAINMRI_DATA")
    if not folder:
        return f"drawn, {side} px", [as_jpeg(draw_slice(number, side)) for number in range(count)]
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
        return as_jpeg(
            image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        )
