"""Evaluates a bundle as it is served: every split, calibration, novelty and sharper inputs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmri.model.calibration import probabilities
from brainmri.model.contract import LABELS
from brainmri.model.novelty import open_detector
from training import metrics
from training.data.arrays import Arrays
from training.data.origin import code_revision
from training.data.outliers import Outliers
from training.data.split import HOLDOUT, TEST, VALIDATION
from training.release.detection import describe_novelty
from training.release.outputs import SERVING, Outputs
from training.release.sharpness import describe_sharper

COVERAGES = (0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Answers:
    """What the served runtime says about one split.

    Attributes:
        rows: Row numbers `[N]` of the arrays.
        logits: float32 `[N, 4]`.
        features: float32 `[N, D]`.
        likely: Calibrated probabilities, float32 `[N, 4]`.
        labels: True labels `[N]`.
        novelty: Scores `[N]`; None without a detector.
    """

    rows: NDArray[np.intp]
    logits: NDArray[np.float32]
    features: NDArray[np.float32]
    likely: NDArray[np.float32]
    labels: NDArray[np.intp]
    novelty: NDArray[np.float32] | None

    def part(self, chosen: NDArray[np.bool_]) -> "Answers":
        """Returns the answers that a mask `[N]` chooses."""
        novelty = None if self.novelty is None else self.novelty[chosen]
        return Answers(
            self.rows[chosen],
            self.logits[chosen],
            self.features[chosen],
            self.likely[chosen],
            self.labels[chosen],
            novelty,
        )


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        metrics: The content of `metrics.json`.
        splits: The answers to `validation`, `given`, `leak_free` and `grouped`, for figures and tables.
    """

    metrics: dict[str, Any]
    splits: dict[str, Answers]


def evaluate(outputs: Outputs, arrays: Arrays, dataset: Path, outliers: Outliers) -> Evaluation:
    """Runs the artefacts of a bundle over the held-out subsets; nothing is fitted here.

    Args:
        outputs: Of a bundle with an OpenVINO and a Keras artefact.
        arrays: The decoded dataset with its split.
        dataset: Folder that holds `Training/` and `Testing/`.
        outliers: Images that are no slices.

    Raises:
        RuntimeUnavailable: An artefact or its package is missing.
    """
    calibration = outputs.bundle.contract.calibration(outputs.name(SERVING))
    splits = answer_splits(outputs, arrays)
    result: dict[str, Any] = {
        "evaluated": {"code_revision": code_revision()},
        "temperature": calibration.temperature,
        "runtime": outputs.name(SERVING),
    }
    for name, answers in splits.items():
        result[name] = describe(
            answers.logits, answers.labels, arrays.groups[answers.rows], calibration.temperature
        ) | _unsure(answers, calibration.min_confidence)
    result["per_source"] = {name: _per_source(arrays, splits[name]) for name in ("given", "leak_free", "grouped")}
    if novelty := describe_novelty(outputs, arrays, outliers):
        result["novelty"] = novelty
    result["sharper_input"] = describe_sharper(outputs, arrays, dataset)
    return Evaluation(metrics=result, splits=splits)


def answer_splits(outputs: Outputs, arrays: Arrays) -> dict[str, Answers]:
    """Returns the served runtime's answers to every held-out split."""
    temperature = outputs.bundle.contract.calibration(outputs.name(SERVING)).temperature
    detector = open_detector(outputs.bundle, outputs.name(SERVING))

    def answer(subset: str) -> Answers:
        rows = arrays.subset(subset)
        output = outputs.of(SERVING, arrays.pixels, rows)
        return Answers(
            rows=rows,
            logits=output.logits,
            features=output.features,
            likely=probabilities(output.logits, temperature),
            labels=arrays.labels[rows],
            novelty=None if detector is None else detector.score(output.features),
        )

    given = answer(TEST)
    return {
        "validation": answer(VALIDATION),
        "given": given,
        "leak_free": given.part(arrays.leak_free(given.rows)),
        "grouped": answer(HOLDOUT),
    }


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


def _unsure(answers: Answers, min_confidence: float) -> dict[str, Any]:
    confidence = answers.likely.max(axis=1)
    sure, correct = confidence >= min_confidence, answers.likely.argmax(axis=1) == answers.labels
    return {
        "accuracy_at_coverage": {
            str(coverage): metrics.accuracy_at_coverage(answers.likely, answers.labels, coverage)
            for coverage in COVERAGES
        },
        "unsure": {
            "below": min_confidence,
            "share": float((~sure).mean()),
            "accuracy_of_the_others": float(correct[sure].mean()) if sure.any() else None,
        },
    }


def _per_source(arrays: Arrays, answers: Answers) -> dict[str, Any]:
    sources = np.array([arrays.rows[number].source for number in answers.rows])
    correct = answers.likely.argmax(axis=1) == answers.labels
    result = {}
    for source in sorted(set(sources.tolist())):
        inside = sources == source
        result[source] = {
            "images": int(inside.sum()),
            "accuracy": float(correct[inside].mean()),
            "accuracy_ci95": metrics.wilson(int(correct[inside].sum()), int(inside.sum())),
            "per_class": {
                label: {"images": int(of.sum()), "recall": float(correct[of].mean()) if of.any() else None}
                for label, of in ((name, inside & (answers.labels == i)) for i, name in enumerate(LABELS))
            },
        }
    return result
