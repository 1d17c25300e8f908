"""Figures against true labels as cells of text, for terminals and reports."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from brainmri.bulk.quality import Quality
from brainmri.model.novelty import NOT_A_BRAIN_MRI, UNSURE
from brainmri.text import printable

CLASS_FIGURES = ("label", "precision", "recall", "F1", "ROC AUC", "AP", "images")
"""AP is the average precision; it and the area are not defined without images of the class, or without any others."""

_MOST_FOLDERS = 5


def class_rows(quality: Quality) -> Iterator[Sequence[str]]:
    """Yields the cells below `CLASS_FIGURES`, a row for each class."""
    for label, one in quality.classes.items():
        areas = ("not defined" if area is None else f"{area:.4f}" for area in (one.roc_auc, one.average_precision))
        yield (label, f"{one.precision:.4f}", f"{one.recall:.4f}", f"{one.f1:.4f}", *areas, str(one.support))


def figure_rows(quality: Quality) -> Sequence[tuple[str, str]]:
    """Returns name and value of the figures that are one number each."""
    low, high = quality.accuracy_ci95
    given = quality.accuracy_when_given
    return [
        ("images with an answer and a label", str(quality.images)),
        ("accuracy (95 % interval)", f"{quality.accuracy:.4f} ({low:.4f} to {high:.4f})"),
        ("macro-F1", f"{quality.macro_f1:.4f}"),
        (f"verdict withheld ({UNSURE}, {NOT_A_BRAIN_MRI})", str(quality.withheld)),
        ("accuracy where a verdict is given", "no verdict is a class" if given is None else f"{given:.4f}"),
        ("log loss", f"{quality.log_loss:.4f}"),
        ("Brier score", f"{quality.brier:.4f}"),
        ("calibration error (15 bins of equal mass)", f"{quality.ece:.4f}"),
        ("risk-coverage (AUGRC, lower is better)", f"{quality.augrc:.4f}"),
        ("accuracy of the surest 95 %", f"{quality.accuracy_at_95_coverage:.4f}"),
        ("answers without a label", str(quality.unlabelled)),
    ]


def unlabelled_line(unlabelled: Mapping[str, int], labels: Iterable[str]) -> str:
    """Returns which folders' names gave no label, for how many images, and which labels there are."""
    named = sorted(unlabelled.items(), key=lambda pair: -pair[1])
    shown = ", ".join(f"{printable(folder)!r} ({images})" for folder, images in named[:_MOST_FOLDERS])
    more = ", ..." if len(named) > _MOST_FOLDERS else ""
    return (
        f"{sum(unlabelled.values())} answers have no true label, because the names of their folders are none:"
        f" {shown}{more}. Name each folder after its label: {', '.join(labels)}."
    )
