"""Figures of merit of a classifier's probabilities, in NumPy and scikit-learn. No files, no plots."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.metrics import average_precision_score, confusion_matrix, precision_recall_fscore_support, roc_auc_score

from brainmri.model.contract import LABELS

ECE_BINS = 15
BOOTSTRAP_ROUNDS = 1000
_TINY = 1e-12

Probabilities = NDArray[np.floating[Any]]
Labels = NDArray[np.intp]


def classification(probabilities: Probabilities, labels: Labels, names: Sequence[str] = LABELS) -> dict[str, Any]:
    """Returns accuracy with its Wilson interval, macro-F1, per-class tables and proper scores.

    Args:
        probabilities: `[N, C]`, rows sum to 1.
        labels: `[N]`, indices into the labels.
        names: The C labels.
    """
    predicted = probabilities.argmax(axis=1)
    every_label = list(range(len(names)))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=every_label, zero_division=0
    )
    correct = int((predicted == labels).sum())
    return {
        "images": len(labels),
        "accuracy": correct / len(labels),
        "accuracy_ci95": wilson(correct, len(labels)),
        "macro_f1": macro_f1(predicted, labels, len(names)),
        "per_class": {
            label: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "recall_ci95": wilson(int(((predicted == i) & (labels == i)).sum()), int(support[i])),
                "f1": float(f1[i]),
                "support": int(support[i]),
                "roc_auc": _one_against_rest(roc_auc_score, labels == i, probabilities[:, i]),
                "average_precision": _one_against_rest(average_precision_score, labels == i, probabilities[:, i]),
            }
            for i, label in enumerate(names)
        },
        "confusion": confusion_matrix(labels, predicted, labels=every_label).tolist(),
        "log_loss": log_loss(probabilities, labels),
        "brier": float(((probabilities - np.eye(len(names))[labels]) ** 2).sum(axis=1).mean()),
        "augrc": augrc(probabilities, labels),
        "accuracy_at_95_coverage": accuracy_at_coverage(probabilities, labels, 0.95),
    }


def macro_f1(predicted: Labels, labels: Labels, classes: int = len(LABELS)) -> float:
    """Returns the unweighted mean of F1 over so many classes; a label never seen nor predicted counts 0."""
    scores = []
    for i in range(classes):
        hits = ((predicted == i) & (labels == i)).sum()
        involved = (predicted == i).sum() + (labels == i).sum()
        scores.append(2 * hits / involved if involved else 0.0)
    return float(np.mean(scores))


def wilson(successes: int, trials: int, z: float = 1.959964) -> list[float]:
    """Returns the 95 % Wilson score interval of a proportion, `[low, high]`; `[0, 1]` without trials."""
    if trials == 0:
        return [0.0, 1.0]
    share, spread = successes / trials, z * z / trials
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * np.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return [max(0.0, float(centre - half)), min(1.0, float(centre + half))]


def log_loss(probabilities: Probabilities, labels: Labels) -> float:
    """Returns the mean negative log probability of the true label, in nats."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], _TINY)).mean())


def ece(probabilities: Probabilities, labels: Labels, bins: int = ECE_BINS) -> float:
    """Returns the expected calibration error over bins of equal mass (Nixon 2019, arXiv:1904.01685)."""
    confidence = probabilities.max(axis=1)
    return binned_gap(confidence, probabilities.argmax(axis=1) == labels, bins)


def binned_gap(confidence: NDArray[np.floating[Any]], correct: NDArray[np.bool_], bins: int = ECE_BINS) -> float:
    """Returns the mass-weighted mean of |accuracy - confidence| over equal-mass bins of `confidence` `[N]`."""
    parts = equal_mass(confidence, bins)
    gaps = [len(part) * abs(correct[part].mean() - confidence[part].mean()) for part in parts]
    return float(sum(gaps) / len(confidence))


def equal_mass(confidence: NDArray[np.floating[Any]], bins: int = ECE_BINS) -> list[NDArray[np.intp]]:
    """Returns which of `confidence` `[N]` are in each bin of equal mass, by rising confidence; no bin is empty."""
    return [part for part in np.array_split(np.argsort(confidence, kind="stable"), bins) if len(part)]


def ece_if_calibrated(probabilities: Probabilities, rounds: int = BOOTSTRAP_ROUNDS, seed: int = 0) -> float:
    """Returns the mean ECE that a perfectly calibrated model with these confidences would show on so few images."""
    confidence = probabilities.max(axis=1)
    rng = np.random.default_rng(seed)
    return float(np.mean([binned_gap(confidence, rng.random(len(confidence)) < confidence) for _ in range(rounds)]))


def augrc(probabilities: Probabilities, labels: Labels) -> float:
    """Returns the area under the generalised risk-coverage curve (Traub 2024, arXiv:2407.01032); lower is better."""
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong = (probabilities.argmax(axis=1) != labels)[order]
    return float((np.cumsum(wrong) / len(wrong)).mean())


def accuracy_at_coverage(probabilities: Probabilities, labels: Labels, coverage: float) -> float:
    """Returns the accuracy on the share `coverage` of images with the largest top probability."""
    kept = np.argsort(-probabilities.max(axis=1), kind="stable")[: max(1, round(coverage * len(labels)))]
    return float((probabilities[kept].argmax(axis=1) == labels[kept]).mean())


def bootstrap_interval(
    figure: Callable[[NDArray[np.intp]], float],
    groups: NDArray[np.intp],
    rounds: int = BOOTSTRAP_ROUNDS,
    seed: int = 0,
) -> list[float]:
    """Returns the 95 % percentile interval of a figure when whole groups are drawn with replacement.

    Args:
        figure: Maps row numbers `[M]`, with repetitions, to a number.
        groups: Group number of each row `[N]`.
        rounds: Number of draws.
        seed: Of the draws.
    """
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    rng = np.random.default_rng(seed)
    values = [
        figure(np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])) for _ in range(rounds)
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return [float(low), float(high)]


def fit_temperature(
    logits: NDArray[np.floating[Any]], labels: Labels, weights: NDArray[np.floating[Any]] | None = None
) -> float:
    """Returns the temperature in [0.05, 20] that minimises the weighted log loss (Guo 2017, arXiv:1706.04599).

    Args:
        logits: `[N, C]`.
        labels: `[N]`.
        weights: Of the images `[N]`; None weighs them alike.
    """
    rows = np.arange(len(labels))
    wide = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        return float(np.average(-log_softmax(wide / np.exp(log_temperature), axis=1)[rows, labels], weights=weights))

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded").x))


def group_weights(groups: NDArray[np.intp]) -> NDArray[np.float32]:
    """Returns `[N]` weights of mean one that give every group of `groups` `[N]` the same total."""
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    weights = 1.0 / counts[inverse]
    return np.asarray(weights / weights.mean(), dtype=np.float32)


def _one_against_rest(
    score: Callable[[NDArray[np.bool_], Probabilities], float], truth: NDArray[np.bool_], probability: Probabilities
) -> float | None:
    return float(score(truth, probability)) if 0 < truth.sum() < len(truth) else None
