"""The figures of a comparison: accuracy, confusion, ROC, reliability, training."""

from collections.abc import Callable
from math import ceil
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from training.plots import DPI, blank_figure, draw_confusion, draw_reliability, draw_roc
from training.release.answers import Answers
from training.studies.compare import Comparison

_COLUMNS = 3
_PANEL = 3.8
"""Side of one model's panel, in inches."""


def plot_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Draws every figure into `folder` and returns their paths; training curves only where a run is at hand."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [folder / f"{name}.png" for name in ("accuracy", "confusion", "roc", "reliability")]
    for path, plot in zip(drawn, (_accuracy, _confusion, _roc, _reliability), strict=True):
        plot(comparison, path)
    if comparison.histories:
        drawn.append(folder / "training.png")
        _training(comparison, drawn[-1])
    return drawn


def _accuracy(comparison: Comparison, path: Path) -> None:
    rows = comparison.rows[::-1]
    figure = blank_figure(7, 1 + 0.4 * len(rows))
    axes = figure.subplots()
    values = np.array([row.accuracy for row in rows])
    ends = np.array([row.accuracy_ci95 for row in rows]).T
    axes.errorbar(values, range(len(rows)), xerr=np.abs(ends - values), fmt="o", capsize=3)
    axes.set_yticks(range(len(rows)), [row.model for row in rows])
    axes.set_xlabel("accuracy by person, with 95 % interval")
    figure.savefig(path, dpi=DPI)


def _confusion(comparison: Comparison, path: Path) -> None:
    _grid(comparison, path, lambda axes, found: draw_confusion(axes, found.predicted, found.labels, comparison.labels))


def _roc(comparison: Comparison, path: Path) -> None:
    def draw(axes: Axes, found: Answers) -> None:
        draw_roc(axes, found.likely, found.labels, comparison.labels)
        axes.legend(fontsize=7)

    _grid(comparison, path, draw)


def _reliability(comparison: Comparison, path: Path) -> None:
    figure = blank_figure(5.5, 4.5)
    axes = figure.subplots()
    answers = zip(comparison.rows, comparison.answers, strict=True)
    hits = {row.model: (found.likely.max(axis=1), found.predicted == found.labels) for row, found in answers}
    draw_reliability(axes, hits, marker=".")
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=DPI)


def _training(comparison: Comparison, path: Path) -> None:
    figure = blank_figure(9, 3.5)
    losses, scores = figure.subplots(1, 2)
    for model, history in comparison.histories.items():
        epochs = [row["epoch"] for row in history]
        losses.plot(epochs, [row["loss"] for row in history], label=model)
        scores.plot(epochs, [row["val_macro_f1"] for row in history], label=model)
    losses.set_ylabel("training loss")
    scores.set_ylabel("macro-F1 on validation")
    for axes in (losses, scores):
        axes.set_xlabel("epoch")
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=DPI)


def _grid(comparison: Comparison, path: Path, draw: Callable[[Axes, Answers], None]) -> None:
    """Draws one panel for each model."""
    rows = ceil(len(comparison.rows) / _COLUMNS)
    figure = blank_figure(_PANEL * _COLUMNS, _PANEL * rows)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).flat
    for axes, row, found in zip(panels, comparison.rows, comparison.answers, strict=False):
        draw(axes, found)
        axes.set_title(row.model, fontsize=9)
    for axes in list(panels)[len(comparison.rows) :]:
        axes.set_axis_off()
    figure.savefig(path, dpi=DPI)
