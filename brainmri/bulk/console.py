"""The end of a run, for a person at a terminal."""

from collections.abc import Mapping
from itertools import islice

from rich.console import Console
from rich.table import Column, Table

from brainmri.bulk.chosen import left_out_lines
from brainmri.bulk.figures import CLASS_FIGURES, class_rows, figure_rows, unlabelled_line
from brainmri.bulk.finish import Outcome
from brainmri.bulk.quality import Quality
from brainmri.bulk.series import series_line
from brainmri.bulk.summary import Summary
from brainmri.model.contract import NOTICE
from brainmri.model.novelty import NOT_A_BRAIN_MRI, UNSURE

_MOST_SERIES = 20
"""Shown; all of them are in `summary.json`."""


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
        console.print(unlabelled_line(outcome.unlabelled, outcome.classes.labels), soft_wrap=True)
    for name, found in islice(outcome.series.items(), _MOST_SERIES):
        console.print(series_line(name, found), soft_wrap=True)
    if len(outcome.series) > _MOST_SERIES:
        console.print(f"{len(outcome.series) - _MOST_SERIES} more series are in summary.json.")
    for line in left_out_lines(outcome.record.left_out_reasons):
        console.print(line, soft_wrap=True)
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
    table = _table("Confusion: true label by row, most probable class by column", "true", *quality.classes)
    for label, counts in zip(quality.classes, quality.confusion, strict=True):
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


def _table(title: str, first: str, *numbers: str) -> Table:
    columns = [Column(name, justify="right") for name in numbers]
    return Table(Column(first, no_wrap=True), *columns, title=title, title_justify="left")
