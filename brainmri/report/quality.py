"""The figures against true labels as tables and charts, for every report that has them."""

from collections.abc import Sequence
from dataclasses import dataclass

from brainmri.bulk.figures import CLASS_FIGURES, class_rows, figure_rows
from brainmri.bulk.quality import Quality
from brainmri.report.charts import SERIES, Chart, curves, matrix


@dataclass(frozen=True)
class Figure:
    """A chart and the sentence below it."""

    chart: Chart
    caption: str


@dataclass(frozen=True)
class Table:
    """Cells as text; the first of each row names it.

    Attributes:
        caption: What it shows.
        head: Names of the columns.
        rows: As long as the head each.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def quality_tables(quality: Quality) -> list[Table]:
    """Returns all figures, and those of each class."""
    return [
        Table("Against the names of the folders", ("figure", "value"), figure_rows(quality)),
        Table("Each class against the others", CLASS_FIGURES, list(class_rows(quality))),
    ]


def quality_charts(quality: Quality) -> list[Figure]:
    """Returns confusion matrix, ROC curves, reliability and risk by coverage."""
    confusion = matrix(tuple(quality.classes), quality.confusion, "Confusion matrix")
    found = [Figure(confusion, "Images by true and most probable class.")]
    if quality.roc_curves:
        areas = {label: quality.classes[label].roc_auc or 0.0 for label in quality.roc_curves}
        # More lines than there are colours cannot be told apart.
        shown = areas if len(areas) <= len(SERIES) else sorted(areas, key=areas.__getitem__)[: len(SERIES)]
        which = "each class" if len(shown) == len(areas) else f"the {len(shown)} classes with the smallest areas, each"
        roc = curves(
            {f"{label}, area {areas[label]:.3f}": quality.roc_curves[label] for label in shown},
            "ROC curves of each class against the others",
            across="share of the other images (false positive rate)",
            up="share of its own images",
            diagonal=True,
        )
        found.append(Figure(roc, f"ROC curves: {which} against the others, by the threshold on its probability."))
    reliability = curves(
        {"accuracy": quality.reliability},
        "Reliability: accuracy by mean confidence",
        across="mean of the largest probability",
        up="accuracy",
        diagonal=True,
    )
    found.append(Figure(reliability, "15 bins of as many images each; on the line, confidence and accuracy are equal."))
    top = max(wrong for _, wrong in quality.risk_coverage) or 1.0
    risk = curves(
        {"risk": quality.risk_coverage},
        "Share of wrong answers by share of images kept",
        across="share of the images kept, the surest first",
        up="share of wrong answers",
        top=top,
    )
    found.append(Figure(risk, "How many answers are wrong among the surest ones."))
    return found
