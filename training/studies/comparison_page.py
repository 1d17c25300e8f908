"""A comparison for people, as Markdown and as HTML, and for machines, as JSON."""

import json
from pathlib import Path

import jinja2

from training.data.tables import write_atomically
from training.studies.compare import Compared, Comparison

HEAD = (
    "model",
    "side",
    "accuracy (95 %)",
    "macro-F1 (95 %)",
    "ECE",
    "tumours of another source found",
    "accuracy less the first's (95 %)",
    "McNemar p",
    "MB",
    "parameters, M",
    "GFLOP",
    "images/s at batch 1, 8, 32",
    "ms",
    "training",
)

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Models compared</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid #ccc; padding: .3rem .6rem; text-align: left; vertical-align: top; }
img { max-width: 100%; }
</style>
<h1>Models compared</h1>
<p>{{ about }}</p>
<table>
<thead><tr>{% for name in head %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table>
{% for figure in figures %}<h2>{{ figure.stem | capitalize }}</h2>
<img src="figures/{{ figure.name }}" alt="{{ figure.stem }} of every model">
{% endfor %}</html>
"""


def write_comparison(comparison: Comparison, figures: list[Path], folder: Path) -> None:
    """Writes `comparison.md`, `comparison.html` and `comparison.json`; `figures` lie in `folder / "figures"`."""
    page = jinja2.Environment(autoescape=True).from_string(_PAGE)
    rows = [cells(row) for row in comparison.rows]
    html = page.render(about=about(comparison), head=HEAD, rows=rows, figures=figures)
    for name, text in (
        ("comparison.md", markdown(comparison, figures)),
        ("comparison.html", html),
        ("comparison.json", json.dumps(comparison.as_json(), indent=2) + "\n"),
    ):
        write_atomically(folder / name, text.encode())


def about(comparison: Comparison) -> str:
    """Returns what the table's figures are."""
    first = comparison.rows[0]
    return (
        f"{first.images} test slices of persons that no training has seen; intervals from a bootstrap over persons."
        f" Every model is compared with {first.model} on the same slices; McNemar's test is exact and takes slices as"
        f" independent. Speed on {comparison.processor}. Research use only."
    )


def markdown(comparison: Comparison, figures: list[Path]) -> str:
    """Returns the comparison as Markdown."""
    lines = ["# Models compared", "", about(comparison), "", f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    lines += [f"| {' | '.join(cells(row))} |" for row in comparison.rows]
    for figure in figures:
        lines += ["", f"## {figure.stem.capitalize()}", "", f"![{figure.stem} of every model](figures/{figure.name})"]
    return "\n".join(lines) + "\n"


def cells(row: Compared) -> list[str]:
    """Returns what the table says of one model, under `HEAD`."""
    difference, p_value = "the first", ""
    if (found := row.against) is not None:
        difference = f"{found.accuracy_difference:+.3f} {_interval(found.accuracy_difference_ci95, '+.3f')}"
        p_value = f"{found.mcnemar_p:.2g} ({found.only_it} against {found.only_the_first})"
    return [
        row.model,
        str(row.side),
        f"{row.accuracy:.3f} {_interval(row.accuracy_ci95)}",
        f"{row.macro_f1:.3f} {_interval(row.macro_f1_ci95)}",
        f"{row.ece:.3f}",
        "" if row.found_elsewhere is None else f"{row.found_elsewhere:.3f}",
        difference,
        p_value,
        f"{row.megabytes:.1f}",
        f"{row.parameters / 1e6:.1f}",
        f"{row.gflop:.2f}",
        ", ".join(f"{speed:.0f}" for speed in row.images_per_s.values()),
        f"{row.ms:.1f}",
        "" if row.training_s is None else f"{row.training_s / 60:.0f} min",
    ]


def _interval(ends: list[float], form: str = ".3f") -> str:
    return f"({ends[0]:{form}} to {ends[1]:{form}})"
