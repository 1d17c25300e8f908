"""Figures of training and evaluation, drawn without a screen."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from brainmri.contract import LABELS
from training.metrics import ECE_BINS

_DPI = 90


def plot_history(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draws loss and accuracy, training and validation, over epochs."""
    figure = _figure(9, 3.5)
    epochs = [row["epoch"] for row in history]
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(epochs, [row[quantity] for row in history], label="training (augmented)")
        axes.plot(epochs, [row[f"val_{quantity}"] for row in history], label="validation")
        axes.set_xlabel("epoch")
        axes.set_ylabel(quantity)
        axes.legend()
    figure.savefig(path, dpi=_DPI)


def plot_confusion(probabilities: NDArray[np.float32], labels: NDArray[np.intp], title: str, path: Path) -> None:
    """Draws counts of true against predicted labels."""
    counts = confusion_matrix(labels, probabilities.argmax(axis=1), labels=range(len(LABELS)))
    figure = _figure(4.6, 4.2)
    axes = figure.subplots()
    axes.imshow(counts, cmap="Blues")
    for (row, column), value in np.ndenumerate(counts):
        axes.text(column, row, str(value), ha="center", va="center", color="white" if value > counts.max() / 2 else "k")
    axes.set_xticks(range(len(LABELS)), LABELS, rotation=30)
    axes.set_yticks(range(len(LABELS)), LABELS)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title)
    figure.savefig(path, dpi=_DPI)


def plot_reliability(probabilities: NDArray[np.float32], labels: NDArray[np.intp], title: str, path: Path) -> None:
    """Draws accuracy against mean confidence in bins of equal mass."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = [part for part in np.array_split(np.argsort(confidence), ECE_BINS) if len(part)]
    figure = _figure(4.2, 4.0)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.plot([confidence[b].mean() for b in bins], [correct[b].mean() for b in bins], marker="o")
    axes.set_xlabel("mean confidence")
    axes.set_ylabel("accuracy")
    axes.set_title(title)
    figure.savefig(path, dpi=_DPI)


def plot_curves(probabilities: NDArray[np.float32], labels: NDArray[np.intp], title: str, path: Path) -> None:
    """Draws ROC and precision-recall curves, each label against the rest."""
    figure = _figure(9, 4)
    roc, recall = figure.subplots(1, 2)
    for index, label in enumerate(LABELS):
        false_rate, true_rate, _ = roc_curve(labels == index, probabilities[:, index])
        roc.plot(false_rate, true_rate, label=label)
        precision, hit_rate, _ = precision_recall_curve(labels == index, probabilities[:, index])
        recall.plot(hit_rate, precision, label=label)
    roc.set_xlabel("false positive rate")
    roc.set_ylabel("true positive rate")
    recall.set_xlabel("recall")
    recall.set_ylabel("precision")
    recall.legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=_DPI)


def plot_risk_coverage(probabilities: NDArray[np.float32], labels: NDArray[np.intp], title: str, path: Path) -> None:
    """Draws the error rate among the answers kept when the least confident ones are withheld."""
    wrong = (probabilities.argmax(axis=1) != labels)[np.argsort(-probabilities.max(axis=1))]
    kept = np.arange(1, len(wrong) + 1)
    figure = _figure(4.6, 3.6)
    axes = figure.subplots()
    axes.plot(kept / len(wrong), np.cumsum(wrong) / kept)
    axes.set_xlabel("coverage")
    axes.set_ylabel("error rate among answers")
    axes.set_title(title)
    figure.savefig(path, dpi=_DPI)


def plot_evaluation(subsets: Mapping[str, tuple[NDArray[np.float32], NDArray[np.intp]]], folder: Path) -> list[Path]:
    """Draws the figures of a bundle's card into `folder` and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for split in ("grouped", "leak_free"):
        probabilities, labels = subsets[split]
        drawn.append(folder / f"confusion_{split}.png")
        plot_confusion(probabilities, labels, f"{split}, {len(labels)} images", drawn[-1])
    for name, plot in (
        ("reliability", plot_reliability),
        ("curves", plot_curves),
        ("risk_coverage", plot_risk_coverage),
    ):
        drawn.append(folder / f"{name}_grouped.png")
        plot(*subsets["grouped"], f"grouped hold-out, {len(subsets['grouped'][1])} images", drawn[-1])
    return drawn


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
