"""Which resize rule serves a trained model best: stretching or padding to a square, and which filter.

Measured on validation slices twice: as supplied (the public copy is already square, so that only the filter
matters), and cropped to the head's bounding box, which makes real slices that are not square. The model was trained on
stretched bilinear inputs, so the study tells what departing from that rule costs, not which rule to train with.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainmri.imaging import SIDE, decode
from brainmri.model.calibration import probabilities
from brainmri.model.runtimes.protocol import Runtime
from training import metrics
from training.data.arrays import Arrays
from training.data.split import VALIDATION

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}
_BACKGROUND = 20
_BATCH = 16


def stretch(pixels: NDArray[np.uint8], resampling: Image.Resampling) -> NDArray[np.uint8]:
    """Returns uint8 `[299, 299, 3]`, each axis scaled by itself."""
    return np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), resampling).convert("RGB"))


def pad(pixels: NDArray[np.uint8], resampling: Image.Resampling) -> NDArray[np.uint8]:
    """Returns uint8 `[299, 299, 3]` with the proportions kept and black borders."""
    image = Image.fromarray(pixels)
    scale = SIDE / max(image.size)
    small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), resampling)
    square = Image.new("RGB", (SIDE, SIDE))
    square.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
    return np.asarray(square)


def crop_to_head(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns the smallest rectangle with everything brighter than the background; all of a dark image."""
    bright = (pixels if pixels.ndim == 2 else pixels.max(axis=2)) > _BACKGROUND
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    if len(rows) < 16 or len(columns) < 16:
        return pixels
    return np.ascontiguousarray(pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def study(
    runtime: Runtime, temperature: float, arrays: Arrays, dataset: Path, filters: Iterable[str] = FILTERS
) -> list[dict[str, Any]]:
    """Returns one row (images, rule, filter, macro-F1, log loss) for each combination, on validation slices."""
    rows = arrays.subset(VALIDATION)
    whole = [decode((dataset / arrays.rows[number].name).read_bytes()) for number in rows]
    cropped = [crop_to_head(pixels) for pixels in whole]
    results = []
    for name, images in (("as supplied", whole), ("cropped to the head", cropped)):
        for rule in (stretch, pad):
            for filter_name in filters:
                logits = _infer(runtime, images, rule, FILTERS[filter_name])
                likely = probabilities(logits, temperature)
                predicted, labels = likely.argmax(axis=1), arrays.labels[rows]
                results.append(
                    {
                        "images": name,
                        "rule": rule.__name__,
                        "filter": filter_name,
                        "macro_f1": metrics.macro_f1(predicted, labels),
                        "macro_f1_ci95": _interval(predicted, labels, arrays.groups[rows]),
                        "log_loss": metrics.log_loss(likely, labels),
                    }
                )
    return results


def _interval(predicted: NDArray[np.intp], labels: NDArray[np.intp], groups: NDArray[np.intp]) -> list[float]:
    return metrics.bootstrap_interval(lambda i: metrics.macro_f1(predicted[i], labels[i]), groups)


def _infer(
    runtime: Runtime,
    images: list[NDArray[np.uint8]],
    rule: Callable[[NDArray[np.uint8], Image.Resampling], NDArray[np.uint8]],
    resampling: Image.Resampling,
) -> NDArray[np.float32]:
    parts = [
        runtime.infer(np.stack([rule(pixels, resampling) for pixels in images[i : i + _BATCH]])).logits
        for i in range(0, len(images), _BATCH)
    ]
    return np.concatenate(parts)
