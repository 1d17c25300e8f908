"""The end of a run, for a person at a terminal."""

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.table import Column, Table

from brainmri.bulk.chosen import left_out_lines
from brainmri.bulk.finish import Outcome
from brainmri.bulk.quality import Quality
from brainmri.bulk.summary import Summary
from brainmri.model.contract import LABELS, NOTICE
from brainmri.model.novelty import NOT_A_BRAIN_MRI, UNSURE
from brainmri.text import printable

CLASS_FIGURES = ("label", "precision", "recall", "F1", "ROC AUC", "AP", "images")
"""AP is the average precision."""

_MOST_FOLDERS = 5


def print_outcome(console: Console, outcome: Outcome) -> None:
    """Prints the classes, the failures by reason, the figures against true labels, and where the results are."""
    summary = outcome.summary
    console.print(_classes(summary))
    if summary.failures:
        console.print(_failures(summary.failures))
    if outcome.quality is not None:
        for table in (_confusion(outcome.quality), _per_class(outcome.quality), _figures(outcome.quality)):
            console.print(table)
    if outcome.unlabelled:
        console.print(unlabelled_line(outcome.unlabelled), soft_wrap=True)
    for line in left_out_lines(outcome.record.left_out_reasons):
        console.print(f"Left out, {line}.", soft_wrap=True)
    console.print(f"{summary.images} rows, {summary.failed} failed: {outcome.results}", soft_wrap=True)
    console.print(NOTICE)


def _classes(summary: Summary) -> Table:
    table = _table("Labels", "label", "images", "share", "mean confidence", UNSURE, NOT_A_BRAIN_MRI)
    answered = max(summary.images - summary.failed, 1)
    for label, count in summary.classes.items():
        verdicts = (str(count.verdicts[verdict]) for verdict in (UNSURE, NOT_A_BRAIN_MRI))
        share = f"{count.images / answered:.1%}"
        table.add_row(label, str(count.images), share, f"{count.mean_confidence:.3f}", *verdicts)
    return table


def _failures(failures: Mapping[str, int]) -> Table:
    table = _table("Failures", "reason", "images")
    for code, images in sorted(failures.items(), key=lambda pair: -pair[1]):
        table.add_row(code, str(images))
    return table


def _confusion(quality: Quality) -> Table:
    table = _table("Confusion: true label by row, most probable class by column", "true", *LABELS)
    for label, counts in zip(LABELS, quality.confusion, strict=True):
        table.add_row(label, *map(str, counts))
    return table


def _per_class(quality: Quality) -> Table:
    table = _table("Per class", *CLASS_FIGURES)
    for row in class_rows(quality):
        table.add_row(*row)
    return table


def _figures(quality: Quality) -> Table:
    table = _table("Against the names of the folders", "figure", "value")
    for name, value in figure_rows(quality):
        table.add_row(name, value)
    return table


def class_rows(quality: Quality) -> Iterator[Sequence[str]]:
    """Yields the cells below `CLASS_FIGURES`, a row for each class."""
    for label, one in quality.classes.items():
        areas = ("none" if area is None else f"{area:.4f}" for area in (one.roc_auc, one.average_precision))
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
        ("accuracy where a verdict is given", "none given" if given is None else f"{given:.4f}"),
        ("log loss", f"{quality.log_loss:.4f}"),
        ("Brier score", f"{quality.brier:.4f}"),
        ("calibration error (15 bins of equal mass)", f"{quality.ece:.4f}"),
        ("risk-coverage (AUGRC, lower is better)", f"{quality.augrc:.4f}"),
        ("accuracy of the surest 95 %", f"{quality.accuracy_at_95_coverage:.4f}"),
        ("answers without a label", str(quality.unlabelled)),
    ]


def unlabelled_line(unlabelled: Mapping[str, int]) -> str:
    """Returns which folders' names gave no label, and how many images that leaves without one."""
    named = sorted(unlabelled.items(), key=lambda pair: -pair[1])
    shown = ", ".join(f"{printable(folder)!r} ({images})" for folder, images in named[:_MOST_FOLDERS])
    more = ", ..." if len(named) > _MOST_FOLDERS else ""
    return (
        f"{sum(unlabelled.values())} answers have no true label, because the names of their folders are none:"
        f" {shown}{more}. Name each folder after its label: {', '.join(LABELS)}."
    )


def _table(title: str, first: str, *numbers: str) -> Table:
    columns = [Column(name, justify="right") for name in numbers]
    return Table(Column(first, no_wrap=True), *columns, title=title, title_justify="left")
