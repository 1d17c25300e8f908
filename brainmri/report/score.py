"""The result of a bulk run as one page that can be sent by itself."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from brainmri import durable
from brainmri.bulk.chosen import left_out_lines
from brainmri.bulk.figures import unlabelled_line
from brainmri.bulk.finish import Outcome
from brainmri.bulk.rows import NO_LABEL
from brainmri.bulk.run_folder import Record
from brainmri.bulk.series import SeriesVerdict
from brainmri.bulk.summary import CONFIDENCE_EDGES, NOVELTY_EDGES, Summary
from brainmri.model.contract import NOTICE
from brainmri.model.novelty import NOT_A_BRAIN_MRI, UNSURE
from brainmri.report.charts import bars, histogram
from brainmri.report.html import render
from brainmri.report.quality import Figure, Table, quality_charts, quality_tables

Section = tuple[str, str, list[Table], list[Figure]]
"""Heading, a sentence or nothing, tables and charts."""


_MOST_SERIES = 1000


def write_report(path: Path, outcome: Outcome) -> None:
    """Writes the page durably, as a whole."""
    durable.write_bytes(path, page(outcome).encode())


def page(outcome: Outcome) -> str:
    """Returns the page as HTML."""
    sections = [_labels(outcome.summary), _distributions(outcome.summary), _failures(outcome.summary)]
    if outcome.quality is not None:
        quality = outcome.quality
        tables, charts = quality_tables(quality), quality_charts(quality)
        sections.append(("Against the names of the folders", "", tables, charts))
    if outcome.series:
        sections.append(_series(outcome.series, outcome.classes.labels))
    if outcome.unlabelled:
        sections.append(("Without a true label", unlabelled_line(outcome.unlabelled, outcome.classes.labels), [], []))
    title = f"{outcome.summary.images} images scored by {outcome.record.method.model}"
    return render("score.html", title=title, notice=NOTICE, sections=sections, facts=_facts(outcome.record))


def _named(label: str) -> str:
    return "no label: the model abstains" if label == NO_LABEL else label


def _labels(summary: Summary) -> Section:
    rows = [
        (
            _named(label),
            str(count.images),
            f"{count.mean_confidence:.3f}" if count.images else "no images",
            str(count.verdicts[UNSURE]),
            str(count.verdicts[NOT_A_BRAIN_MRI]),
        )
        for label, count in summary.classes.items()
    ]
    table = Table("Answered images by label", ("label", "images", "mean confidence", UNSURE, NOT_A_BRAIN_MRI), rows)
    counts = {_named(label): count.images for label, count in summary.classes.items()}
    return "Labels", "", [table], [Figure(bars(counts, "Images by label"), "Answered images by label.")]


def _distributions(summary: Summary) -> Section:
    confidence = histogram(
        summary.confidences.tolist(), CONFIDENCE_EDGES, "Images by largest probability", "largest probability"
    )
    charts = [Figure(confidence, "How sure the answers are.")]
    if summary.novelties.any():
        novelty = histogram(
            summary.novelties.tolist(), NOVELTY_EDGES, "Images by novelty", "novelty; 1 is the median training slice"
        )
        charts.append(Figure(novelty, "Distance from the training slices; the last column holds all beyond."))
    return "How sure, and how novel", "", [], charts


def _failures(summary: Summary) -> Section:
    if not summary.failures:
        return "Failures", "Every image has an answer.", [], []
    rows = [(code, str(images)) for code, images in summary.failures.most_common()]
    return "Failures", "", [Table("Images without an answer", ("reason", "images"), rows)], []


def _series(series: Mapping[str, SeriesVerdict], labels: Sequence[str]) -> Section:
    rows = [
        (name, found.verdict, str(found.slices), str(found.answered), *(str(found.votes.get(one, 0)) for one in labels))
        for name, found in islice(series.items(), _MOST_SERIES)
    ]
    more = len(series) - len(rows)
    table = Table("Series", ("series", "verdict", "slices", "with a class", *labels), rows)
    return "Series", f"{more} more are in summary.json." if more else "", [table], []


def _facts(record: Record) -> list[tuple[str, object]]:
    facts = {**record.model_dump(exclude={"method"}), **record.method.model_dump()}
    facts["inputs"] = ", ".join(record.inputs)
    facts["labels"] = ", ".join(record.method.labels)
    facts["tags"] = ", ".join(record.method.tags) or "no tag is told"
    facts["left_out_reasons"] = " ".join(left_out_lines(record.left_out_reasons)) or "no file was left out"
    return list(facts.items())
