"""Evaluates a bundle as it is served: given, leak-free and grouped splits, calibration, and runtimes side by side."""

import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainmri.bundle import Bundle
from brainmri.inference.calibration import probabilities
from brainmri.inference.runtime import Runtime, open_runtime
from training import metrics
from training.arrays import Arrays
from training.split import HOLDOUT, TEST, VALIDATION

BATCH_SIZES = (1, 8, 32)
_TIMING_ROUNDS = 5
SERVING: Literal["openvino"] = "openvino"
REFERENCE: Literal["tensorflow"] = "tensorflow"


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        metrics: The content of `metrics.json`.
        subsets: Calibrated probabilities `[N, 4]` and labels `[N]` by split name, for figures.
    """

    metrics: dict[str, Any]
    subsets: dict[str, tuple[NDArray[np.float32], NDArray[np.intp]]]


def evaluate(bundle: Bundle, arrays: Arrays, threads: int) -> Evaluation:
    """Runs every artefact of `bundle` over the held-out subsets.

    The temperature is fitted on validation; Testing and hold-out are only looked at.

    Args:
        bundle: A verified bundle with an OpenVINO and a Keras artefact.
        arrays: The decoded dataset with its split.
        threads: CPU threads for each runtime.

    Raises:
        RuntimeUnavailable: An artefact or its package is missing.
    """
    runtimes = {choice: open_runtime(bundle, choice, threads) for choice in (SERVING, REFERENCE)}
    rows = {name: arrays.subset(name) for name in (VALIDATION, HOLDOUT, TEST)}
    logits = {
        choice: {name: _infer(runtime, arrays, numbers) for name, numbers in rows.items()}
        for choice, runtime in runtimes.items()
    }
    temperature = metrics.fit_temperature(logits[SERVING][VALIDATION], arrays.labels[rows[VALIDATION]])
    leak_free = np.array([not arrays.rows[number].leak for number in rows[TEST]])
    splits = {
        "validation": (rows[VALIDATION], logits[SERVING][VALIDATION]),
        "given": (rows[TEST], logits[SERVING][TEST]),
        "leak_free": (rows[TEST][leak_free], logits[SERVING][TEST][leak_free]),
        "grouped": (rows[HOLDOUT], logits[SERVING][HOLDOUT]),
    }
    result: dict[str, Any] = {"temperature": temperature, "runtime": runtimes[SERVING].info.name}
    for name, (numbers, values) in splits.items():
        result[name] = describe(values, arrays.labels[numbers], arrays.groups[numbers], temperature)
    result["per_source"] = _per_source(arrays, *splits["leak_free"])
    result["runtimes"] = {
        runtimes[choice].info.name: {
            "bytes": next(a.bytes for a in bundle.contract.artefacts if a.runtime == runtimes[choice].info.name),
            "images_per_s": throughput(runtimes[choice], arrays),
        }
        for choice in runtimes
    }
    result["runtimes"][runtimes[SERVING].info.name] |= compare(
        np.concatenate([logits[SERVING][VALIDATION], logits[SERVING][TEST][leak_free]]),
        np.concatenate([logits[REFERENCE][VALIDATION], logits[REFERENCE][TEST][leak_free]]),
        np.concatenate([arrays.labels[rows[VALIDATION]], arrays.labels[rows[TEST][leak_free]]]),
        temperature,
    )
    calibrated = {
        name: (probabilities(values, temperature), arrays.labels[numbers]) for name, (numbers, values) in splits.items()
    }
    return Evaluation(metrics=result, subsets=calibrated)


def describe(
    logits: NDArray[np.float32], labels: NDArray[np.intp], groups: NDArray[np.intp], temperature: float
) -> dict[str, Any]:
    """Returns all figures of one split; intervals of macro-F1 and ECE come from a bootstrap over groups."""
    before, after = probabilities(logits, 1.0), probabilities(logits, temperature)
    predicted = after.argmax(axis=1)
    return metrics.classification(after, labels) | {
        "groups": len(np.unique(groups)),
        "macro_f1_ci95": metrics.bootstrap_interval(lambda i: metrics.macro_f1(predicted[i], labels[i]), groups),
        "log_loss_before": metrics.log_loss(before, labels),
        "ece_before": metrics.ece(before, labels),
        "ece": metrics.ece(after, labels),
        "ece_ci95": _ece_interval(after, labels, groups),
        "ece_if_calibrated": metrics.ece_if_calibrated(after),
    }


def _ece_interval(likely: NDArray[np.float32], labels: NDArray[np.intp], groups: NDArray[np.intp]) -> list[float]:
    # Resampling adds noise, and noise adds to an absolute gap: the percentile interval lies too high. The basic
    # bootstrap mirrors it at the estimate (Davison and Hinkley 1997, section 5.2).
    estimate = metrics.ece(likely, labels)
    low, high = metrics.bootstrap_interval(lambda i: metrics.ece(likely[i], labels[i]), groups)
    return [max(0.0, 2 * estimate - high), max(0.0, 2 * estimate - low)]


def compare(
    served: NDArray[np.float32], reference: NDArray[np.float32], labels: NDArray[np.intp], temperature: float
) -> dict[str, float | int]:
    """Returns how far a runtime's logits `[N, 4]` lead away from the reference's on the same images."""
    ours, theirs = probabilities(served, temperature), probabilities(reference, temperature)
    return {
        "compared_images": len(labels),
        "label_flips": float((ours.argmax(axis=1) != theirs.argmax(axis=1)).mean()),
        "largest_probability_difference": float(np.abs(ours - theirs).max()),
        "macro_f1_difference": metrics.macro_f1(ours.argmax(axis=1), labels)
        - metrics.macro_f1(theirs.argmax(axis=1), labels),
    }


def throughput(runtime: Runtime, arrays: Arrays) -> dict[str, float]:
    """Returns images/s by batch size: the median of several timed calls after one that is not counted."""
    result = {}
    for size in BATCH_SIZES:
        images = np.resize(arrays.pixels[: min(size, len(arrays.pixels))], (size, *arrays.pixels.shape[1:]))
        runtime.infer(images)
        seconds = []
        for _ in range(_TIMING_ROUNDS):
            start = time.perf_counter()
            runtime.infer(images)
            seconds.append(time.perf_counter() - start)
        result[str(size)] = round(size / float(np.median(seconds)), 2)
    return result


def _infer(runtime: Runtime, arrays: Arrays, rows: NDArray[np.intp], batch_size: int = 16) -> NDArray[np.float32]:
    parts = [
        runtime.infer(np.asarray(arrays.pixels[rows[i : i + batch_size]])).logits
        for i in range(0, len(rows), batch_size)
    ]
    return np.concatenate(parts)


def _per_source(arrays: Arrays, rows: NDArray[np.intp], logits: NDArray[np.float32]) -> dict[str, Any]:
    sources = np.array([arrays.rows[number].source for number in rows])
    correct = logits.argmax(axis=1) == arrays.labels[rows]
    return {
        source: {
            "images": int((sources == source).sum()),
            "accuracy": float(correct[sources == source].mean()),
            "accuracy_ci95": metrics.wilson(int(correct[sources == source].sum()), int((sources == source).sum())),
        }
        for source in sorted(set(sources.tolist()))
    }
