"""Which layer's pooled features tell slices from everything else best (decision 0007), in Keras and float32."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from brainmri.model.novelty import NoveltyDetector
from training.data.arrays import Arrays
from training.data.outliers import Outliers
from training.data.split import TRAIN, VALIDATION
from training.fit.model import BODY
from training.fit.recipe import Recipe
from training.release.detection import detection
from training.release.export import trained_network
from training.release.novelty import COMPONENTS, KEEPS, fit_detector, one_of_each_group

LAYERS = (
    "block2_sepconv2_bn",
    "block3_sepconv2_bn",
    "block4_sepconv2_bn",
    "block9_sepconv1_act",
    "block13_sepconv1_act",
    "block13_sepconv2_bn",
    "block14_sepconv1_act",
    "block14_sepconv2_act",
)
"""Of Xception, from early to late; the last one feeds the head."""
_BATCH = 32


def compare_layers(recipe: Recipe, run: Path, arrays: Arrays, outliers: Outliers) -> list[dict[str, Any]]:
    """Returns one row (layer, channels, far, near) for each layer of a trained Xception.

    Slices are those of validation; far is empty without photographs.
    """
    network = trained_network(recipe, run)
    fitted = features_of(network, arrays.pixels, one_of_each_group(arrays, TRAIN))
    slices = features_of(network, arrays.pixels, arrays.subset(VALIDATION))
    far = features_of(network, outliers.far, np.arange(len(outliers.far)))
    near = features_of(network, outliers.near, np.arange(len(outliers.near)))
    rows = []
    for layer in LAYERS:
        detector = fit_detector(fitted[layer], COMPONENTS)
        ours = detector.score(slices[layer])
        threshold = float(np.quantile(ours, KEEPS, method="higher"))
        rows.append(
            {
                "layer": layer,
                "channels": fitted[layer].shape[1],
                "far": _judge(detector, ours, far[layer], threshold),
                "near": _judge(detector, ours, near[layer], threshold),
            }
        )
    return rows


def features_of(
    network: keras.Model, pixels: NDArray[np.uint8], rows: NDArray[np.intp]
) -> dict[str, NDArray[np.float32]]:
    """Returns the mean over the picture of every layer's positive part, by layer `[N, channels]`."""
    body = network.get_layer(BODY)
    stem = keras.Model(network.input, network.layers[network.layers.index(body) - 1].output)
    pooled = [
        keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(body.get_layer(layer).output)) for layer in LAYERS
    ]
    layers, parts = keras.Model(body.input, pooled), []
    for start in range(0, len(rows), _BATCH):
        images = np.asarray(pixels[rows[start : start + _BATCH]])
        parts.append([np.asarray(x) for x in layers.predict_on_batch(stem.predict_on_batch(images))])
    empty = [np.empty((0, model_output.shape[-1]), np.float32) for model_output in pooled]
    return {layer: np.concatenate([empty[i], *(part[i] for part in parts)]) for i, layer in enumerate(LAYERS)}


def _judge(
    detector: NoveltyDetector, ours: NDArray[np.float32], others: NDArray[np.float32], threshold: float
) -> dict[str, float | int]:
    return detection(ours, detector.score(others), threshold) if len(others) else {}


def table(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as a Markdown table."""
    lines = [
        "| layer | channels | far: AUROC | FPR at 95 % TPR | pass | near: AUROC | FPR at 95 % TPR | pass |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = " | ".join(
            f"{figures['auroc']:.4f} | {figures['fpr95']:.3f} | {figures['passed']:.1%}" if figures else "- | - | -"
            for figures in (row["far"], row["near"])
        )
        lines.append(f"| {row['layer']} | {row['channels']} | {cells} |")
    return "\n".join(lines)
