"""Figures of training and evaluation, drawn without a screen."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import auc, confusion_matrix, precision_recall_curve, roc_curve

from brainmri.model.contract import LABELS
from training.metrics import equal_mass

DPI = 90
_ON_VALIDATION = {
    "val_macro_f1": "macro-F1 by person",
    "val_found": "tumours of another source found",
    "val_normal": "normal slices called so",
}


def plot_history(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draws the training loss, and what validation says, over epochs."""
    figure = blank_figure(9, 3.5)
    epochs = [row["epoch"] for row in history]
    losses, validation = figure.subplots(1, 2)
    losses.plot(epochs, [row["loss"] for row in history], label="training loss")
    for name, label in _ON_VALIDATION.items():
        if name in history[0]:
            validation.plot(epochs, [row[name] for row in history], label=label)
    for axes in (losses, validation):
        axes.set_xlabel("epoch")
        axes.legend()
    figure.savefig(path, dpi=DPI)


def plot_confusion(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.intp],
    title: str,
    path: Path,
    classes: Sequence[str] = LABELS,
) -> None:
    """Draws counts of true against predicted labels."""
    wide = max(0, len(classes) - 6) * 0.3
    figure = blank_figure(4.6 + wide, 4.2 + wide)
    axes = figure.subplots()
    draw_confusion(axes, probabilities.argmax(axis=1), labels, classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title)
    figure.savefig(path, dpi=DPI)


def draw_confusion(
    axes: Axes, predicted: NDArray[np.intp], labels: NDArray[np.intp], classes: Sequence[str] = LABELS
) -> None:
    """Draws counts of true (down) against predicted labels (across)."""
    counts = confusion_matrix(labels, predicted, labels=range(len(classes)))
    axes.imshow(counts, cmap="Blues")
    for (row, column), value in np.ndenumerate(counts):
        axes.text(column, row, str(value), ha="center", va="center", color="white" if value > counts.max() / 2 else "k")
    axes.set_xticks(range(len(classes)), classes, rotation=30 if len(classes) <= 6 else 90)
    axes.set_yticks(range(len(classes)), classes)


def plot_reliability(probabilities: NDArray[np.float32], labels: NDArray[np.intp], title: str, path: Path) -> None:
    """Draws accuracy against mean confidence in bins of equal mass."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    figure = blank_figure(4.2, 4.0)
    axes = figure.subplots()
    draw_reliability(axes, {title: (confidence, correct)}, marker="o")
    axes.set_title(title)
    figure.savefig(path, dpi=DPI)


def draw_reliability(
    axes: Axes, answers: Mapping[str, tuple[NDArray[np.floating], NDArray[np.bool_]]], marker: str
) -> None:
    """Draws accuracy against mean confidence in bins of equal mass, a line for each name's confidences and hits."""
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, (confidence, correct) in answers.items():
        bins = equal_mass(confidence)
        axes.plot([confidence[b].mean() for b in bins], [correct[b].mean() for b in bins], marker=marker, label=name)
    axes.set_xlabel("mean confidence")
    axes.set_ylabel("accuracy")


def plot_curves(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.intp],
    title: str,
    path: Path,
    classes: Sequence[str] = LABELS,
) -> None:
    """Draws ROC and precision-recall curves, each label against the rest."""
    figure = blank_figure(9, 4)
    roc, recall = figure.subplots(1, 2)
    draw_roc(roc, probabilities, labels, classes)
    for index, label in enumerate(classes):
        precision, hit_rate, _ = precision_recall_curve(labels == index, probabilities[:, index])
        recall.plot(hit_rate, precision, label=f"{label}, AUC {auc(hit_rate, precision):.3f}")
    recall.set_xlabel("recall")
    recall.set_ylabel("precision")
    roc.legend()
    recall.legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=DPI)


def draw_roc(
    axes: Axes, probabilities: NDArray[np.float32], labels: NDArray[np.intp], classes: Sequence[str] = LABELS
) -> None:
    """Draws ROC curves, each label against the rest."""
    for index, label in enumerate(classes):
        false_rate, true_rate, _ = roc_curve(labels == index, probabilities[:, index])
        axes.plot(false_rate, true_rate, label=f"{label}, AUC {auc(false_rate, true_rate):.3f}")
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")


def plot_risk_coverage(probabilities: NDArray[np.float32], labels: NDArray[np.intp], title: str, path: Path) -> None:
    """Draws the error rate among the answers kept when the least confident ones are withheld."""
    wrong = (probabilities.argmax(axis=1) != labels)[np.argsort(-probabilities.max(axis=1))]
    kept = np.arange(1, len(wrong) + 1)
    figure = blank_figure(4.6, 3.6)
    axes = figure.subplots()
    axes.plot(kept / len(wrong), np.cumsum(wrong) / kept)
    axes.set_xlabel("coverage")
    axes.set_ylabel("error rate among answers")
    axes.set_title(title)
    figure.savefig(path, dpi=DPI)


def plot_novelty(scores: Mapping[str, NDArray[np.floating]], threshold: float, path: Path) -> None:
    """Draws the distribution of novelty scores by kind of image, with the threshold."""
    figure = blank_figure(7, 3.6)
    axes = figure.subplots()
    bins = np.geomspace(0.3, max(3.0, *(float(values.max()) for values in scores.values())), 60).tolist()
    for name, values in scores.items():
        weights = np.full(len(values), 1 / len(values))
        axes.hist(values, bins=bins, weights=weights, histtype="step", label=f"{name} ({len(values)})")
    axes.axvline(threshold, color="0.4", linestyle="--", linewidth=1, label=f"threshold {threshold:.2f}")
    axes.set_xscale("log")
    axes.set_xlabel("novelty")
    axes.set_ylabel("share of images")
    axes.legend()
    figure.savefig(path, dpi=DPI)


def plot_features(points: Mapping[str, NDArray[np.floating]], path: Path) -> None:
    """Draws named clouds of points `[N, 2]`: pooled features along two directions."""
    figure = blank_figure(6.4, 5)
    axes = figure.subplots()
    for name, cloud in points.items():
        axes.scatter(cloud[:, 0], cloud[:, 1], s=7, alpha=0.6, label=f"{name} ({len(cloud)})")
    axes.set_xlabel("first principal component of hold-out features")
    axes.set_ylabel("second")
    axes.legend(markerscale=2)
    figure.savefig(path, dpi=DPI)


def plot_mistakes(
    names: Sequence[str],
    probabilities: NDArray[np.float32],
    labels: NDArray[np.intp],
    path: Path,
    classes: Sequence[str] = LABELS,
) -> None:
    """Draws the probabilities of wrong answers, the most confident first; true labels stand after the file names.

    No pixel of an image is shown: the dataset's pictures are not ours to publish.
    """
    figure = blank_figure(8, 0.8 + 0.3 * max(len(names), 1))
    axes = figure.subplots()
    left = np.zeros(len(names))
    for index, label in enumerate(classes):
        axes.barh(range(len(names)), probabilities[:, index], left=left, label=label)
        left += probabilities[:, index]
    ticks = [f"{name}: {classes[label]}" for name, label in zip(names, labels, strict=True)]
    axes.set_yticks(range(len(names)), ticks, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("calibrated probability")
    axes.legend(ncols=min(6, len(classes)), loc="lower center", bbox_to_anchor=(0.4, 1.0), frameon=False)
    figure.savefig(path, dpi=DPI)


def blank_figure(width: float, height: float) -> Figure:
    """Returns an empty figure of that size in inches, which needs no screen."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
