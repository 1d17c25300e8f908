"""Which heat map points at the tumours: Grad-CAM as served, beside other methods, on the same slices.

Recipro-CAM (Byun and Lee 2022, arXiv:2209.14074) keeps one cell of the last feature map after another and asks what is
left of the class. Grad-CAM of an earlier layer has finer cells, and needs gradients. RISE (Petsiuk et al. 2018,
arXiv:1806.07421) asks the network about hundreds of half-covered images; it knows nothing of the network's inside, and
is the slow judge.
"""

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from brainmri.imaging import SIDE
from brainmri.model.bundle import Bundle
from brainmri.model.calibration import probabilities
from brainmri.model.contract import LABELS
from brainmri.model.explanation import Head, enlarge
from brainmri.model.runtimes.protocol import Runtime
from training.data.slices import UNNAMED, Slices
from training.fit.model import LOGITS, NOVELTY_FEATURES
from training.release.export_runtimes import reference_network
from training.release.localisation import localisation
from training.release.looking import likeliest_tumours

GRID, COVERED = 7, 0.5
"""RISE covers cells of a grid of so many a side, each with this probability."""
_KERNEL = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 4
_BATCH = 16

Map = NDArray[np.float32]
Method = Callable[[NDArray[np.uint8], str], Map]
"""Makes the map `[h, w]`, 0 or more, of an image `[299, 299, 3]` and a label."""


def recipro_cam(feature_map: NDArray[np.float32], bias: NDArray[np.float32], weights: NDArray[np.float32]) -> Map:
    """Returns what each cell, with its neighbours at half and a quarter, gives to the logit by itself.

    Args:
        feature_map: Hidden layer before its ReLU `[h, w, M]`.
        bias: Of the hidden layer `[M]`.
        weights: Of the last layer, for one class `[M]`.
    """
    height, width, channels = feature_map.shape
    padded = np.zeros((height + 2, width + 2, channels), np.float32)
    padded[1:-1, 1:-1] = feature_map - bias
    kept = sum(
        _KERNEL[down, across] * padded[down : down + height, across : across + width]
        for down in range(3)
        for across in range(3)
    )
    scores = np.maximum(kept + bias, 0) @ weights
    return np.asarray(scores - scores.min(), np.float32)


def rise(
    answer: Callable[[NDArray[np.uint8]], NDArray[np.float32]], image: NDArray[np.uint8], masks: int, seed: int = 0
) -> Map:
    """Returns how probable the class is when a pixel is seen, more than its least, `[299, 299]`.

    Args:
        answer: Gives the probability of the class for images `[B, 299, 299, 3]`, `[B]`.
        image: uint8 `[299, 299, 3]`.
        masks: How many half-covered images are asked about.
        seed: Of the masks.
    """
    rng = np.random.default_rng(seed)
    total, seen = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
    for start in range(0, masks, _BATCH):
        shown = np.stack([_mask(rng) for _ in range(min(_BATCH, masks - start))])
        likely = answer((image * shown[..., np.newaxis]).astype(np.uint8))
        total += np.tensordot(likely, shown, 1)
        seen += shown.sum(axis=0)
    scores = total / np.maximum(seen, 1e-6)
    return np.asarray(scores - scores.min(), np.float32)


def _mask(rng: np.random.Generator) -> NDArray[np.float32]:
    cell = -(-SIDE // GRID)
    whole = enlarge((rng.random((GRID + 1, GRID + 1)) >= COVERED).astype(np.float32), (GRID + 1) * cell)
    top, left = rng.integers(0, cell, 2)
    return whole[top : top + SIDE, left : left + SIDE]


class EarlierLayer:
    """Grad-CAM of the layer that features for novelty come from, by TensorFlow's gradients of the float network.

    Args:
        bundle: Verified, with `keras-f16`.
    """

    def __init__(self, bundle: Bundle) -> None:
        model = reference_network(bundle)
        self._model = keras.Model(
            model.input, [model.get_layer(NOVELTY_FEATURES).input, model.get_layer(LOGITS).output]
        )

    def __call__(self, image: NDArray[np.uint8], label: str) -> Map:
        """Returns the map of a label, in the cells of that layer."""
        import tensorflow as tf  # noqa: PLC0415 -- the study of one method needs it

        with tf.GradientTape() as tape:
            pixels = tf.convert_to_tensor(image[np.newaxis].astype(np.float32))
            tape.watch(pixels)
            layer, logits = self._model(pixels, training=False)
            evidence = logits[0, LABELS.index(label)] - tf.reduce_mean(logits[0])
        weights = tf.reduce_mean(tape.gradient(evidence, layer), axis=(1, 2))[0]
        return np.asarray(tf.nn.relu(tf.tensordot(layer[0], weights, 1)), np.float32)


def methods_of(bundle: Bundle, runtime: Runtime, head: Head, masks: int) -> dict[str, Method]:
    """Returns the methods by name, the served one first.

    Args:
        bundle: With heat maps.
        runtime: The served one.
        head: Of the bundle.
        masks: How many images RISE asks about for each slice.
    """

    def feature_map(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = np.asarray(runtime.infer(image[np.newaxis]).feature_map, np.float32)[0]
        return found

    def judged(image: NDArray[np.uint8], label: str) -> Map:
        number = LABELS.index(label)
        return rise(lambda images: probabilities(runtime.infer(images).logits, 1.0)[:, number], image, masks)

    return {
        "Grad-CAM, last layer (served)": lambda image, label: head.heat_map(feature_map(image), label).cells,
        "Recipro-CAM, last layer": lambda image, label: recipro_cam(feature_map(image), *head.of(label)),
        "Grad-CAM, earlier layer": EarlierLayer(bundle),
        f"RISE, {masks} masks": judged,
    }


def boxed_rows(slices: Slices, subset: str, most: int) -> NDArray[np.intp]:
    """Returns up to `most` rows of a subset that have a box, evenly spread."""
    rows = slices.subset(subset)
    rows = rows[slices.boxes[rows, 2] > 0]
    places = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))
    return np.asarray(rows[places])


def compare_methods(
    methods: dict[str, Method], runtime: Runtime, slices: Slices, rows: NDArray[np.intp], heads: NDArray[np.intp]
) -> list[dict[str, Any]]:
    """Returns a row for each method: `localisation`'s figures, and the median milliseconds of a map.

    Args:
        methods: By name.
        runtime: Says the likeliest tumour where the kind has no name.
        slices: With boxes.
        rows: Which of them.
        heads: Number of the person or group of each.
    """
    labels = [LABELS[_label(runtime, slices, row)] for row in rows]
    result = []
    for name, method in methods.items():
        maps, times = [], []
        for row, label in zip(rows, labels, strict=True):
            begin = time.perf_counter()
            maps.append(method(np.asarray(slices.pixels[row]), label))
            times.append(time.perf_counter() - begin)
        figures = localisation(np.stack(maps), slices.boxes[rows], heads)
        result.append({"method": name, "ms": float(np.median(times) * 1000), **figures})
    return result


def page(title: str, figures: list[dict[str, Any]]) -> str:
    """Returns a comparison as a Markdown table."""
    lines = [
        f"## {title}: {figures[0]['images']} slices of {figures[0]['groups']} persons or groups\n",
        "| method | in the grown box (95 % interval) | in the box (95 % interval) | ms a map |",
        "|---|---|---|---|",
    ]
    for row in figures:
        shares = [_share(row, figure) for figure in ("pointing", "pointing_strict")]
        lines.append(f"| {row['method']} | {' | '.join(shares)} | {row['ms']:.0f} |")
    return "\n".join([*lines, ""])


def _share(row: dict[str, Any], figure: str) -> str:
    low, high = row[f"{figure}_ci95"]
    return f"{row[figure]:.3f} ({low:.3f} to {high:.3f})"


def _label(runtime: Runtime, slices: Slices, row: np.intp) -> int:
    if slices.labels[row] != UNNAMED:
        return int(slices.labels[row])
    logits = runtime.infer(np.asarray(slices.pixels[row : row + 1])).logits
    return int(likeliest_tumours(logits)[0])
