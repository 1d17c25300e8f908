"""Evaluates a bundle as it is served: by person, on tumours of another source, on normal slices, novelty, baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmri.model.calibration import probabilities
from brainmri.model.contract import LABELS
from training import metrics
from training.data.origin import code_revision
from training.data.outliers import Outliers
from training.data.slices import Slices
from training.data.sources import TEST, VALIDATION
from training.data.split import EXTERNAL
from training.release.answers import REFUSED, UNSURE, Answers, answer
from training.release.baseline import describe_baseline
from training.release.detection import describe_novelty
from training.release.outputs import SERVING, Outputs

COVERAGES = (0.8, 0.9, 0.95, 0.99)
PERSON = "person"


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        metrics: The content of `metrics.json`.
        subsets: The answers to `validation`, `test` and `external`, for figures and tables.
    """

    metrics: dict[str, Any]
    subsets: dict[str, Answers]


def evaluate(outputs: Outputs, slices: Slices, outliers: Outliers) -> Evaluation:
    """Runs the served artefact of a bundle over the held-out subsets; nothing is fitted to them here.

    Raises:
        RuntimeUnavailable: An artefact or its package is missing.
    """
    calibration = outputs.bundle.contract.calibration(outputs.name(SERVING))
    subsets = {name: answer(outputs, slices, name) for name in (VALIDATION, TEST, EXTERNAL) if len(slices.subset(name))}
    test = subsets[TEST]
    result: dict[str, Any] = {
        "evaluated": {"code_revision": code_revision()},
        "temperature": calibration.temperature,
        "runtime": outputs.name(SERVING),
        PERSON: describe(
            test,
            heads(slices, test.rows),
            calibration.temperature,
            calibration.min_confidence,
            slices.classes.labels,
        ),
    }
    normal = test.part(test.labels == slices.no_tumor)
    if len(normal.rows):
        result["normal"] = describe_normal(normal)
    if EXTERNAL in subsets:
        external = subsets[EXTERNAL]
        result["external"] = {"br35h": describe_tumours(external, slices.groups[external.rows])}
    if novelty := describe_novelty(outputs, slices, outliers):
        result["novelty"] = novelty
    result["baseline"] = {PERSON: describe_baseline(slices)}
    return Evaluation(metrics=result, subsets=subsets)


def heads(slices: Slices, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Returns a number for each row `[N]`, the same for all rows of a person, or of a group where nobody is known."""
    names = [slices.images[row].person or slices.images[row].unit for row in rows]
    return np.asarray(np.unique(names, return_inverse=True)[1], dtype=np.intp)


def describe(
    answers: Answers,
    persons: NDArray[np.intp],
    temperature: float,
    min_confidence: float,
    names: Sequence[str] = LABELS,
) -> dict[str, Any]:
    """Returns all figures of a subset with known labels; intervals come from a bootstrap over `persons` `[N]`."""
    likely, labels, predicted = answers.likely, answers.labels, answers.predicted
    before = probabilities(answers.logits, 1.0)
    correct, sure = predicted == labels, likely.max(axis=1) >= min_confidence
    figures = metrics.classification(likely, labels, names)
    return figures | {
        "persons": len(np.unique(persons)),
        "recall": {label: figures["per_class"][label]["recall"] for label in names},
        "accuracy_ci95": metrics.bootstrap_interval(lambda i: float(correct[i].mean()), persons),
        "macro_f1_ci95": metrics.bootstrap_interval(
            lambda i: metrics.macro_f1(predicted[i], labels[i], len(names)), persons
        ),
        "temperature": temperature,
        "log_loss_before": metrics.log_loss(before, labels),
        "ece_before": metrics.ece(before, labels),
        "ece": metrics.ece(likely, labels),
        "ece_ci95": _ece_interval(likely, labels, persons),
        "ece_if_calibrated": metrics.ece_if_calibrated(likely),
        "accuracy_at_coverage": {
            str(coverage): metrics.accuracy_at_coverage(likely, labels, coverage) for coverage in COVERAGES
        },
        "unsure_below": min_confidence,
        "unsure": float((answers.verdicts == UNSURE).mean()),
        "refused": float((answers.verdicts == REFUSED).mean()),
        "accuracy_when_sure": float(correct[sure].mean()) if sure.any() else None,
    }


def describe_tumours(answers: Answers, groups: NDArray[np.intp]) -> dict[str, Any]:
    """Returns what becomes of tumours whose kind is not known; intervals come from a bootstrap over `groups` `[N]`."""
    outcomes = {
        "found": answers.finds_tumour,
        "called_notumor": answers.verdicts == answers.no_tumor,
        "refused": answers.verdicts == REFUSED,
        "unsure": answers.verdicts == UNSURE,
    }
    result: dict[str, Any] = {"images": len(answers.rows), "groups": len(np.unique(groups))}
    for name, happened in outcomes.items():
        result[name] = float(happened.mean())
        result[f"{name}_ci95"] = share_interval(happened, groups)
    return result


def describe_normal(answers: Answers) -> dict[str, Any]:
    """Returns what becomes of slices without a tumour, one of each group."""
    called = answers.verdicts == answers.no_tumor
    return {
        "images": len(called),
        "called_notumor": float(called.mean()),
        "called_notumor_ci95": metrics.wilson(int(called.sum()), len(called)),
        "refused": float((answers.verdicts == REFUSED).mean()),
        "unsure": float((answers.verdicts == UNSURE).mean()),
        "taken_for_a_tumour": float((answers.verdicts >= 0).mean() - called.mean()),
    }


def compare(
    served: NDArray[np.float32], reference: NDArray[np.float32], labels: NDArray[np.intp], temperature: float
) -> dict[str, float | int]:
    """Returns how far a runtime's logits `[N, C]` lead away from the reference's on the same images."""
    ours, theirs = probabilities(served, temperature), probabilities(reference, temperature)
    return {
        "compared_images": len(labels),
        "label_flips": float((ours.argmax(axis=1) != theirs.argmax(axis=1)).mean()),
        "largest_probability_difference": float(np.abs(ours - theirs).max()),
        "macro_f1_difference": metrics.macro_f1(ours.argmax(axis=1), labels, ours.shape[1])
        - metrics.macro_f1(theirs.argmax(axis=1), labels, theirs.shape[1]),
    }


def share_interval(happened: NDArray[np.bool_], groups: NDArray[np.intp]) -> list[float]:
    """Returns the 95 % interval of a share when whole groups are drawn with replacement."""
    return metrics.bootstrap_interval(lambda i: float(happened[i].mean()), groups)


def _ece_interval(likely: NDArray[np.float32], labels: NDArray[np.intp], groups: NDArray[np.intp]) -> list[float]:
    # Resampling adds noise, and noise adds to an absolute gap: the percentile interval lies too high. The basic
    # bootstrap mirrors it at the estimate (Davison and Hinkley 1997, section 5.2).
    estimate = metrics.ece(likely, labels)
    low, high = metrics.bootstrap_interval(lambda i: metrics.ece(likely[i], labels[i]), groups)
    return [max(0.0, 2 * estimate - high), max(0.0, 2 * estimate - low)]
