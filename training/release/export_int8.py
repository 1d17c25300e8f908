"""Post-training quantisation of an OpenVINO network to int8 by NNCF, accuracy-aware where the plain way loses much."""

import logging
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino
from numpy.typing import NDArray

from training.release.fold_input import fold_input

MOST_FLIPS = 0.005
"""Share of the images that may get another label than from the float32 network."""

CONTROL_FROM = 0.01
"""Share of the images judged from which on layers are put back to float. Of 500 images one more or less is chance, and
putting back takes most of an hour on two cores at 299 pixels."""

_OPTIONS: dict[str, Any] = {
    # Mixed: symmetric weights, asymmetric activations; what follows a ReLU has no negative half to spend bits on.
    "preset": nncf.QuantizationPreset.MIXED,
    # Exact, layer by layer: half the error of the fast one, which estimates what quantising does to each mean.
    "fast_bias_correction": False,
}

_logger = logging.getLogger(__name__)


def write_int8(
    network: openvino.Model, images: NDArray[np.uint8], judged: NDArray[np.uint8], folder: Path
) -> openvino.Model:
    """Quantises weights and activations and writes `model.xml` and `model.bin`.

    Args:
        network: In float32, uint8 `[B, 299, 299, 3]` in, with an output `logits`. Its input is folded in place.
        images: Training images `[N, 299, 299, 3]` that tell the ranges of activations.
        judged: Validation images `[M, 299, 299, 3]`. If `CONTROL_FROM` of them change their label, the layers
            that matter most are put back to float until no more than `MOST_FLIPS` do.
        folder: Receives the files.

    Returns:
        What was written.
    """
    wanted = labels_of(network, judged)
    fold_input(network)
    quantised = _quantise(network, images)
    flips = float((labels_of(quantised, judged) != wanted).mean())
    if flips > CONTROL_FROM:
        _logger.info("int8 changes %.2f %% of the labels; quantising with accuracy control", flips * 100)
        quantised = _quantise_with_control(network, images, judged, wanted)
    openvino.save_model(quantised, folder / "model.xml", compress_to_fp16=True)
    return quantised


def labels_of(network: openvino.Model | openvino.CompiledModel, images: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Returns the index of the largest logit for each image."""
    compiled = network if isinstance(network, openvino.CompiledModel) else _compile(network)
    rows = [compiled(images[i : i + 16])["logits"].argmax(axis=1) for i in range(0, len(images), 16)]
    labels: NDArray[np.intp] = np.concatenate(rows)
    return labels


def _compile(network: openvino.Model) -> openvino.CompiledModel:
    # OpenVINO computes in bfloat16 where the processor can, unless told otherwise.
    return openvino.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def _quantise(network: openvino.Model, images: NDArray[np.uint8]) -> openvino.Model:
    return nncf.quantize(network, _dataset(images), subset_size=len(images), **_OPTIONS)


def _quantise_with_control(
    network: openvino.Model, images: NDArray[np.uint8], judged: NDArray[np.uint8], wanted: NDArray[np.intp]
) -> openvino.Model:
    def agreement(compiled: openvino.CompiledModel, _: object) -> tuple[float, None]:
        return float((labels_of(compiled, judged) == wanted).mean()), None

    return nncf.quantize_with_accuracy_control(
        network,
        calibration_dataset=_dataset(images),
        validation_dataset=_dataset(judged),
        validation_fn=agreement,
        max_drop=MOST_FLIPS,
        subset_size=len(images),
        **_OPTIONS,
    )


def _dataset(images: NDArray[np.uint8]) -> nncf.Dataset:
    spanning = images.copy()
    # NNCF takes the mean of the images' extremes as the range of the input: with these two pixels it is all of uint8,
    # and quantising the input changes nothing. Pooling by two or three leaves the last row out.
    spanning[:, -1, -2], spanning[:, -1, -1] = 0, 255
    return nncf.Dataset([spanning[i : i + 1] for i in range(len(spanning))])
