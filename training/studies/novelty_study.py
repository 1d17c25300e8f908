"""Which novelty score tells slices from everything else best (decision 0007), on the features of one runtime.

Slices are those of validation, so that the hold-out stays unseen; photographs and the near set have no second half, so
that figures published for the chosen score are a little favoured by the choice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.covariance import LedoitWolf

from brainmri.model.calibration import probabilities
from brainmri.model.runtimes.protocol import Output
from training.data.arrays import Arrays
from training.data.outliers import Outliers
from training.data.split import TRAIN, VALIDATION
from training.release.detection import detection
from training.release.novelty import KEEPS, fit_detector, fit_parameters, one_of_each_group
from training.release.outputs import SERVING, Outputs

Score = Callable[[Output], NDArray[np.floating[Any]]]
_BLOCK = 256


@dataclass(frozen=True)
class StudyRow:
    """One score.

    Attributes:
        score: What it is.
        kilobytes: Size of its parameters as they would be stored.
        far: Figures against photographs; empty without any.
        near: Figures against the near set.
    """

    score: str
    kilobytes: float
    far: dict[str, float | int]
    near: dict[str, float | int]


def compare_scores(outputs: Outputs, arrays: Arrays, outliers: Outliers) -> list[StudyRow]:
    """Returns one row for each score, fitted on one training slice of each near-duplicate group."""
    rows = one_of_each_group(arrays, TRAIN)
    train, labels = outputs.of(SERVING, arrays.pixels, rows), arrays.labels[rows]
    temperature = outputs.bundle.contract.calibration(outputs.name(SERVING)).temperature
    slices = outputs.of(SERVING, arrays.pixels, arrays.subset(VALIDATION))
    near = outputs.of(SERVING, outliers.near)
    far = outputs.of(SERVING, outliers.far) if len(outliers.far) else None
    result = []
    for name, size, score in _scores(train, labels, temperature):
        ours = score(slices)
        threshold = float(np.quantile(ours, KEEPS, method="higher"))
        against_far = {} if far is None else detection(ours, score(far), threshold)
        result.append(StudyRow(name, size / 1e3, against_far, detection(ours, score(near), threshold)))
    return result


def _scores(train: Output, labels: NDArray[np.intp], temperature: float) -> list[tuple[str, int, Score]]:
    features = train.features.astype(np.float64)
    detectors = [
        (f"square roots, {kept} components, shared rest", *_detector(train.features, kept))
        for kept in (64, 128, 256, 512)
    ]
    bank = features.astype(np.float16).nbytes
    return [
        ("1 - largest probability", 0, lambda output: 1 - probabilities(output.logits, temperature).max(axis=1)),
        ("energy", 0, lambda output: -logsumexp(output.logits, axis=1)),
        ("Mahalanobis, Ledoit-Wolf", *_mahalanobis(features, np.zeros(len(features), dtype=np.intp))),
        ("Mahalanobis by class, Ledoit-Wolf", *_mahalanobis(features, labels)),
        ("nearest neighbour", bank, lambda output: _neighbour(features, output.features, 1)),
        ("10th nearest neighbour", bank, lambda output: _neighbour(features, output.features, 10)),
        ("10th nearest, unit length", bank, lambda o: _neighbour(_unit(features), _unit(o.features), 10)),
        *detectors,
    ]


def _detector(features: NDArray[np.float32], kept: int) -> tuple[int, Score]:
    detector = fit_detector(features, kept)
    size = sum(array.nbytes for array in fit_parameters(features, kept).values())
    return size, lambda output: detector.score(output.features)


def _mahalanobis(features: NDArray[np.float64], classes: NDArray[np.intp]) -> tuple[int, Score]:
    means = np.stack([features[classes == label].mean(axis=0) for label in np.unique(classes)])
    numbers = np.searchsorted(np.unique(classes), classes)
    precision = LedoitWolf().fit(features - means[numbers]).precision_

    def score(output: Output) -> NDArray[np.floating[Any]]:
        distances = [((output.features - mean) @ precision * (output.features - mean)).sum(axis=1) for mean in means]
        return np.asarray(np.sqrt(np.maximum(np.min(distances, axis=0), 0)))

    return precision.astype(np.float16).nbytes, score


def _neighbour(
    bank: NDArray[np.floating[Any]], features: NDArray[np.floating[Any]], number: int
) -> NDArray[np.floating[Any]]:
    norms, result = (bank**2).sum(axis=1), []
    for start in range(0, len(features), _BLOCK):
        part = features[start : start + _BLOCK].astype(np.float64)
        squares = (part**2).sum(axis=1)[:, None] - 2 * part @ bank.T + norms
        result.append(np.partition(squares, number - 1, axis=1)[:, number - 1])
    return np.asarray(np.sqrt(np.maximum(np.concatenate(result), 0)))


def _unit(features: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12))


def table(rows: list[StudyRow]) -> str:
    """Returns the rows as a Markdown table."""
    lines = [
        "| score | parameters, KB | far: AUROC | FPR at 95 % TPR | pass | near: AUROC | FPR at 95 % TPR | pass |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = " | ".join(
            f"{figures['auroc']:.4f} | {figures['fpr95']:.3f} | {figures['passed']:.1%}" if figures else "- | - | -"
            for figures in (row.far, row.near)
        )
        lines.append(f"| {row.score} | {row.kilobytes:.0f} | {cells} |")
    return "\n".join(lines)
