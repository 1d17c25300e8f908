"""A whole bundle in milliseconds: its network answers from the mean colour, so every value can be computed by hand.

Its feature map holds the mean colour of each of 13 by 13 cells of 23 by 23 pixels.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as ops

from brainmri.imaging import PREPROCESSING_VERSION
from brainmri.model.bundle import Bundle, file_sha256, write_bundle
from brainmri.model.contract import LABELS, NOTICE, Contract
from brainmri.model.explanation import write_head

WEIGHTS = np.array([[10, 0, 0, 0], [0, 10, 0, 0], [0, 0, 0, 10]], np.float32) / 255
"""Mean red, green, blue to logits: glioma, meningioma, pituitary win by 10 for a pure colour."""

BIAS = np.array([0, 0, 1, 0], np.float32)
"""notumor wins for black."""

CELLS = 13
"""Rows and columns of the feature map."""


def contract_parts(**changes: Any) -> dict[str, Any]:
    """Returns the fields of a valid contract, with `changes`."""
    parts = {
        "schema_version": 1,
        "name": "brain_mri_xception",
        "serving_name": "brain_mri",
        "version": "0.0.1",
        "labels": LABELS,
        "input": {
            "height": 299,
            "width": 299,
            "channels": 3,
            "dtype": "uint8",
            "layout": "NHWC",
            "preprocessing_version": PREPROCESSING_VERSION,
            "resize": "padded, antialiased bilinear",
        },
        "network_side": 299,
        "feature_size": 3,
        "temperature": 2.0,
        "provenance": {
            "architecture": {"architecture": "mean_colour"},
            "recipe": "tiny",
            "data_sha256": "a" * 64,
            "split_sha256": "b" * 64,
            "code_revision": "0" * 40,
            "keras_backend": "none",
            "keras_version": "none",
            "created": datetime(2026, 1, 2, tzinfo=UTC),
        },
        "licence": "Apache-2.0",
        "intended_use": "Tests.",
        "notice": NOTICE,
    }
    return {**parts, **changes}


def head_of(classes: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns WEIGHTS and BIAS for so many classes; those beyond the fourth always have the logit 0."""
    beyond = max(0, classes - len(BIAS))
    weights, bias = np.pad(WEIGHTS, ((0, 0), (0, beyond))), np.pad(BIAS, (0, beyond))
    return np.ascontiguousarray(weights[:, :classes], np.float32), np.ascontiguousarray(bias[:classes], np.float32)


def write_openvino(folder: Path, classes: int = 4, *, explains: bool = False) -> Path:
    """Writes the network as `model.xml` and `model.bin`: logits = mean colour x WEIGHTS + BIAS, features = mean.

    With `explains` it has the output `feature_map` as well.
    """
    weights, bias = head_of(classes)
    image = ops.parameter([-1, 299, 299, 3], np.uint8, name="image")
    # Rows first: one float32 sum over 89,401 pixels is off by 0.1 %. The relu keeps OpenVINO from merging the two.
    rows = ops.relu(ops.reduce_mean(ops.convert(image, "f32"), ops.constant([2], np.int64), keep_dims=False))
    mean = ops.reduce_mean(rows, ops.constant([1], np.int64), keep_dims=False)
    product = ops.matmul(mean, ops.constant(weights), False, False)
    logits = ops.add(product, ops.constant(bias))
    outputs = {"logits": logits, "features": mean}
    if explains:
        split = ops.constant([-1, CELLS, 299 // CELLS, CELLS, 299 // CELLS, 3], np.int64)
        cells = ops.reshape(ops.convert(image, "f32"), split, special_zero=False)
        outputs["feature_map"] = ops.reduce_mean(cells, ops.constant([2, 4], np.int64), keep_dims=False)
    model = openvino.Model([ops.result(output) for output in outputs.values()], [image], "mean_colour")
    for number, name in enumerate(outputs):
        model.output(number).tensor.set_names({name})
    folder.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)
    return folder


def write_novelty(path: Path) -> Path:
    """Writes a detector whose score is the distance of the channels' square roots from 10: 0 for a mean grey of 100."""
    np.savez(
        path,
        mean=np.full(3, 10, np.float32),
        scale=np.ones(3, np.float32),
        basis=np.eye(3, 1, dtype=np.float16),
        weights=np.ones(1, np.float32),
        rest=np.float32(1),
        unit=np.float32(1),
    )
    return path


def explanation_parts(head: Path, classes: int = 4) -> dict[str, Any]:
    """Returns the contract's explanation of the tiny network, and writes its head to `head`.

    Without bias, and with WEIGHTS as the last kernel: the hidden layer is the mean colour.
    """
    write_head(head, np.zeros(3, np.float32), head_of(classes)[0])
    return {
        "method": "grad-cam",
        "rows": CELLS,
        "columns": CELLS,
        "channels": 3,
        "file": "explanation/head.npz",
        "sha256": file_sha256(head),
        "bytes": head.stat().st_size,
    }


def calibration_parts(detector: Path, threshold: float, **changes: Any) -> dict[str, Any]:
    """Returns the calibration of the tiny network with the detector in `detector`, with `changes`."""
    novelty = {
        "method": "Distance of the channels' square roots from 10.",
        "file": "novelty/openvino-f32.npz",
        "sha256": file_sha256(detector),
        "bytes": detector.stat().st_size,
        "threshold": threshold,
        "keeps": 0.975,
        "fitted_on": 1,
    }
    return {"runtime": "openvino-f32", "temperature": 2.0, "novelty": novelty, **changes}


def write_tiny_bundle(
    folder: Path,
    scratch: Path,
    *,
    novelty_threshold: float | None = None,
    min_confidence: float = 0.0,
    explains: bool = False,
    **changes: Any,
) -> Bundle:
    """Writes a valid bundle with one OpenVINO artefact at `folder`; `changes` go into its contract.

    With `novelty_threshold` it has the detector of `write_novelty`, and answers below `min_confidence` are unsure.
    With `explains` it is one of schema 2, which has heat maps; own `labels` need a `schema_version` of 4.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    detectors = {}
    if novelty_threshold is not None:
        detectors["openvino-f32"] = write_novelty(scratch / "novelty.npz")
        calibration = calibration_parts(
            detectors["openvino-f32"], novelty_threshold, min_confidence=min_confidence, coverage=0.95
        )
        changes = {"calibrations": [calibration], **changes}
    classes = len(changes.get("labels", LABELS))
    head = scratch / "head.npz" if explains else None
    if head is not None:
        changes = {"schema_version": 2, "explanation": explanation_parts(head, classes), **changes}
    contract = Contract.from_parts(**contract_parts(**changes))
    artefacts = {"openvino-f32": write_openvino(scratch / "ir", classes, explains=explains)}
    return write_bundle(folder, contract, artefacts, {"accuracy": 1.0}, "# Tiny\n", detectors=detectors, head=head)
