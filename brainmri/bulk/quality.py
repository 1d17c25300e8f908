"""How right the answers are, where the true labels are known: the figures of `docs/scoring.md`, in NumPy alone.

Serving does not import training, whose figures go further; a test compares the two where they overlap.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainmri.bulk.rows import OK, PROBABILITY
from brainmri.model.contract import RELEASED_CLASSES, Classes
from brainmri.model.figures import equal_mass_bins

if TYPE_CHECKING:
    import pyarrow as pa

CURVE_POINTS = 100
OTHER_FOLDERS = "other folders"
_MOST_FOLDERS = 1000
_NO_TUMOUR = ("no", "normal", "healthy")


@dataclass(frozen=True)
class ClassQuality:
    """One class against the others: shares in [0, 1], and the number of images that have this true label.

    The areas below the curves of its probability are None without images of the class, or without any others.
    """

    precision: float
    recall: float
    f1: float
    support: int
    roc_auc: float | None
    average_precision: float | None


@dataclass(frozen=True)
class Quality:
    """Figures over the images that have an answer and a true label; the most probable class counts as the answer.

    Attributes:
        images: How many there are.
        unlabelled: Answered images whose folder spells no label.
        withheld: Images among them whose verdict is not a class: novel, or unsure.
        accuracy: Share that is right.
        accuracy_ci95: Its Wilson interval.
        accuracy_when_given: Share that is right among those whose verdict is a class; None if there are none.
        macro_f1: Unweighted mean of F1 over all classes.
        classes: Label to its figures.
        confusion: Images by true label (row) and answer (column), `[C, C]`.
        log_loss: Mean negative log probability of the true label, in nats.
        brier: Mean squared distance of the probabilities from the truth.
        ece: Expected calibration error over 15 bins of equal mass (Nixon 2019, arXiv:1904.01685).
        augrc: Area under the generalised risk-coverage curve (Traub 2024, arXiv:2407.01032); lower is better.
        accuracy_at_95_coverage: Accuracy of the 95 % of the images with the largest top probability.
        reliability: Mean top probability and accuracy of each of those bins.
        risk_coverage: Share of the images, the surest first, and the share of wrong answers among them.
        roc_curves: Label to at most 101 points of its curve, from (0, 0) to (1, 1): the share of the other images and
            that of its own with a larger or equal probability; of labels whose `roc_auc` there is.
    """

    images: int
    unlabelled: int
    withheld: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    accuracy_when_given: float | None
    macro_f1: float
    classes: dict[str, ClassQuality]
    confusion: list[list[int]]
    log_loss: float
    brier: float
    ece: float
    augrc: float
    accuracy_at_95_coverage: float
    reliability: list[tuple[float, float]]
    risk_coverage: list[tuple[float, float]]
    roc_curves: dict[str, list[tuple[float, float]]]


def folder_label(path: str, classes: Classes = RELEASED_CLASSES) -> str | None:
    """Returns the label that the name of an image's folder spells (`No Tumor`, `glioma_tumor`), or None."""
    folder = PurePosixPath(path).parent.name.lower()
    spelt = {re.sub("[^a-z0-9]", "", label): label for label in classes.labels}
    letters = re.sub("[^a-z]", "", folder)
    short = letters.removesuffix("tumor").removesuffix("tumour")
    for name in (re.sub("[^a-z0-9]", "", folder), letters, short):
        if name in spelt:
            return spelt[name]
    return classes.no_tumor if short in _NO_TUMOUR else None


class Labelled:
    """Collects answers and true labels: 4 bytes for each class of an image, and 3 more.

    Args:
        classes: What the model tells apart.

    Attributes:
        unlabelled: Answered images whose folder's name spells no label, by that name; of a thousand names, and
            `OTHER_FOLDERS` for those beyond.
    """

    def __init__(self, classes: Classes = RELEASED_CLASSES) -> None:
        self._classes = classes
        self._probabilities: list[NDArray[np.float32]] = []
        self._truths: list[NDArray[np.int8]] = []
        self._given: list[NDArray[np.bool_]] = []
        self.unlabelled: Counter[str] = Counter()

    def add(self, table: "pa.Table") -> None:
        """Takes the answered rows of a table of `brainmri.bulk.row_tables.schema_of`."""
        classes = self._classes.labels
        table = table.filter(table["status"].to_numpy(zero_copy_only=False) == OK)
        labels = [folder_label(path, self._classes) for path in table["path"].to_pylist()]
        known = np.array([label is not None for label in labels], bool)
        for path, label in zip(table["path"].to_pylist(), labels, strict=True):
            if label is None:
                self._count_unlabelled(PurePosixPath(path).parent.name)
        columns = [table[PROBABILITY + label].to_numpy() for label in classes]
        self._probabilities.append(np.stack(columns, axis=1).astype(np.float32)[known])
        self._truths.append(np.array([classes.index(label) for label in labels if label], np.int8))
        self._given.append(np.isin(table["verdict"].to_numpy(zero_copy_only=False).astype(str), classes)[known])

    def quality(self) -> Quality | None:
        """Returns the figures; None without a single labelled answer."""
        truths = np.concatenate(self._truths or [np.zeros(0, np.int8)])
        if not len(truths):
            return None
        probabilities, given = np.concatenate(self._probabilities), np.concatenate(self._given)
        return quality_of(probabilities, truths, given, self.unlabelled.total(), self._classes.labels)

    def _count_unlabelled(self, folder: str) -> None:
        full = len(self.unlabelled) >= _MOST_FOLDERS and folder not in self.unlabelled
        self.unlabelled[OTHER_FOLDERS if full else folder] += 1


def quality_of(
    probabilities: NDArray[np.float32],
    truths: NDArray[np.int8],
    given: NDArray[np.bool_],
    unlabelled: int,
    labels: Sequence[str],
) -> Quality:
    """Returns the figures of answers with a true label, at least one.

    Args:
        probabilities: Calibrated, `[N, C]`.
        truths: Numbers of the true labels, `[N]`.
        given: Whether the verdict is a class, `[N]`.
        unlabelled: How many further answers have no true label.
        labels: The C classes.
    """
    answers = probabilities.argmax(axis=1)
    right = answers == truths
    wide = probabilities.astype(np.float64)
    confidence = wide.max(axis=1)
    surest = np.argsort(-confidence, kind="stable")
    bins = equal_mass_bins(confidence, right)
    confusion = np.zeros((len(labels), len(labels)), int)
    np.add.at(confusion, (truths, answers), 1)
    classes = {
        label: _class_quality(confusion, index, probabilities[:, index], truths == index)
        for index, label in enumerate(labels)
    }
    true_probability = wide[np.arange(len(truths)), truths]
    return Quality(
        images=len(truths),
        unlabelled=unlabelled,
        withheld=int((~given).sum()),
        accuracy=float(right.mean()),
        accuracy_ci95=_wilson(int(right.sum()), len(right)),
        accuracy_when_given=float(right[given].mean()) if given.any() else None,
        macro_f1=float(np.mean([figures.f1 for figures in classes.values()])),
        classes=classes,
        confusion=confusion.tolist(),
        log_loss=float(-np.log(np.maximum(true_probability, 1e-12)).mean()),
        brier=float(((wide - np.eye(len(labels))[truths]) ** 2).sum(axis=1).mean()),
        ece=float(sum(images * abs(accuracy - mean) for mean, accuracy, images in bins) / len(right)),
        augrc=float((np.cumsum(~right[surest]) / len(right)).mean()),
        accuracy_at_95_coverage=float(right[surest[: max(1, round(0.95 * len(right)))]].mean()),
        reliability=[(mean, accuracy) for mean, accuracy, _ in bins],
        risk_coverage=_risk_coverage(~right[surest]),
        roc_curves={
            label: _roc_curve(probabilities[:, index], truths == index)
            for index, label in enumerate(labels)
            if classes[label].roc_auc is not None
        },
    )


def _class_quality(
    confusion: NDArray[Any], index: int, scores: NDArray[np.float32], positive: NDArray[np.bool_]
) -> ClassQuality:
    hits, support, answered = confusion[index, index], confusion[index].sum(), confusion[:, index].sum()
    return ClassQuality(
        precision=float(hits / answered) if answered else 0.0,
        recall=float(hits / support) if support else 0.0,
        f1=float(2 * hits / (support + answered)) if support + answered else 0.0,
        support=int(support),
        roc_auc=_roc_auc(scores, positive),
        average_precision=_average_precision(scores, positive),
    )


def _roc_auc(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> float | None:
    """Returns the share of pairs in which the positive image has the larger score; ties count half."""
    hits, others = int(positive.sum()), int((~positive).sum())
    if not hits or not others:
        return None
    _, place, ties = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * others))


def _roc_curve(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Returns false and true positive rate by falling threshold; `positive` is neither always nor never true."""
    _, place = np.unique(-scores, return_inverse=True)
    hits, misses = (np.cumsum(np.bincount(place, weights=which)) for which in (positive, ~positive))
    kept = np.unique(np.linspace(0, len(hits) - 1, min(len(hits), CURVE_POINTS)).round().astype(int))
    rates = zip((misses[kept] / misses[-1]).tolist(), (hits[kept] / hits[-1]).tolist(), strict=True)
    return [(0.0, 0.0), *rates]


def _average_precision(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> float | None:
    """Returns the mean of the precisions at all thresholds, weighted by the recall that each adds."""
    if not positive.any() or positive.all():
        return None
    _, place, ties = np.unique(-scores, return_inverse=True, return_counts=True)
    found = np.bincount(place, weights=positive)
    return float((found / positive.sum() * np.cumsum(found) / np.cumsum(ties)).sum())


def _wilson(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    share, spread = successes / trials, z * z / trials
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * float(np.sqrt(share * (1 - share) / trials + spread / (4 * trials)))
    return max(0.0, centre - half), min(1.0, centre + half)


def _risk_coverage(wrong: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Returns at most a hundred points of the curve; `wrong` begins with the surest answer."""
    kept = np.unique(np.linspace(1, len(wrong), min(len(wrong), CURVE_POINTS)).round().astype(int))
    risks = np.cumsum(wrong)[kept - 1] / kept
    return list(zip((kept / len(wrong)).tolist(), risks.tolist(), strict=True))
