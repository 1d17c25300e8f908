"""The result of a run as one page that can be sent by itself: no script, and nothing loaded from elsewhere."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from brainmri import durable
from brainmri.bulk.charts import bars, curve, histogram, matrix
from brainmri.bulk.chosen import left_out_lines
from brainmri.bulk.console import CLASS_FIGURES, class_rows, figure_rows, unlabelled_line
from brainmri.bulk.finish import Outcome
from brainmri.bulk.quality import Quality
from brainmri.bulk.run_folder import Record
from brainmri.bulk.summary import CONFIDENCE_EDGES, NOVELTY_EDGES, Summary
from brainmri.model.contract import LABELS, NOTICE
from brainmri.model.novelty import NOT_A_BRAIN_MRI, UNSURE

_STYLE = """
:root { color-scheme: light dark; --ink: #1b2733; --paper: #fff; --soft: #5b6b7a; --bar: #2a6f97; --line: #d5dde4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #12181f; --soft: #9aa9b7; --bar: #61a5c2; --line: #33404c; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 54rem;
  margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
.notice { border-left: 4px solid #b3541e; padding: .25rem 1rem; }
svg { max-width: 100%; height: auto; font-size: 13px; fill: var(--ink); }
.bar { fill: var(--bar); } .axis { stroke: var(--soft); } .line { stroke: var(--bar); fill: none; }
.name { text-anchor: end; } .tick { text-anchor: middle; }
.light { fill: var(--paper); } figure { margin: 1rem 0 2rem; } figcaption { color: var(--soft); }
"""


def write_report(path: Path, outcome: Outcome) -> None:
    """Writes the page durably, as a whole."""
    durable.write(path, lambda file: file.write(page(outcome).encode()))


def page(outcome: Outcome) -> str:
    """Returns the page as HTML."""
    title = f"{outcome.summary.images} images scored by {outcome.record.method.model}"
    sections = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="notice">{escape(NOTICE)}</p>',
        *_classes(outcome.summary),
        *_distributions(outcome.summary),
        *_failures(outcome.summary),
        *([] if outcome.quality is None else _quality(outcome.quality)),
        *([f"<p>{escape(unlabelled_line(outcome.unlabelled))}</p>"] if outcome.unlabelled else []),
        *_facts(outcome.record),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )


def _classes(summary: Summary) -> list[str]:
    rows = [
        (label, count.images, f"{count.mean_confidence:.3f}", count.verdicts[UNSURE], count.verdicts[NOT_A_BRAIN_MRI])
        for label, count in summary.classes.items()
    ]
    header = ("label", "images", "mean confidence", UNSURE, NOT_A_BRAIN_MRI)
    counts = {label: count.images for label, count in summary.classes.items()}
    return ["<h2>Labels</h2>", _figure(bars(counts, "Images by label"), "Images by label"), _table(header, rows)]


def _distributions(summary: Summary) -> list[str]:
    confidence, novelty = "Images by their largest probability", "Images by novelty; 1 is a typical training slice"
    found = ["<h2>How sure, and how novel</h2>"]
    found.append(_figure(histogram(summary.confidences.tolist(), CONFIDENCE_EDGES, confidence), confidence))
    if summary.novelties.any():
        beyond = f"{novelty}; the last column holds all beyond"
        found.append(_figure(histogram(summary.novelties.tolist(), NOVELTY_EDGES, novelty), beyond))
    return found


def _failures(summary: Summary) -> list[str]:
    if not summary.failures:
        return ["<h2>Failures</h2><p>None.</p>"]
    return ["<h2>Failures</h2>", _table(("reason", "images"), summary.failures.most_common())]


def _quality(quality: Quality) -> list[str]:
    caption = "True label by row, most probable class by column"
    reliability = "Accuracy by mean confidence, in 15 bins of as many images each; on the line where both are equal"
    risk = "Share of wrong answers by share of images kept, the surest first"
    risks = [wrong for _, wrong in quality.risk_coverage]
    return [
        "<h2>Against the names of the folders</h2>",
        _table(("figure", "value"), figure_rows(quality)),
        _figure(matrix(LABELS, quality.confusion, f"Confusion matrix. {caption}"), caption),
        _figure(curve(quality.reliability, reliability, diagonal=True), reliability),
        _figure(curve(quality.risk_coverage, risk, top=max(risks) or 1.0), risk),
        _table(CLASS_FIGURES, class_rows(quality)),
    ]


def _facts(record: Record) -> list[str]:
    facts = {**record.model_dump(exclude={"method"}), **record.method.model_dump()}
    facts["inputs"] = ", ".join(record.inputs)
    facts["left_out_reasons"] = "; ".join(left_out_lines(record.left_out_reasons)) or "none"
    return ["<h2>What was asked</h2>", _table(("fact", "value"), facts.items())]


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
