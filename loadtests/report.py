"""The figures of a run as text for a terminal and as one HTML page that needs nothing else."""

from collections.abc import Sequence
from html import escape

from loadtests.record import Record, Span
from loadtests.slo import Finding, StageResult, knee, result_of

NOTICE = "Research use only. Not a medical device; never a diagnosis."

_HEAD = (
    "stage",
    "load",
    "requests",
    "answers/s",
    "images/s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "answered %",
    "refused %",
    "failed",
)
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}"
    "td,th{padding:.2rem .7rem;border-bottom:1px solid #ddd;text-align:right}"
    "td:first-child,th:first-child,.text td,.text th{text-align:left}svg{max-width:100%;height:auto}"
    ".met{color:#1b7837}.missed{color:#b2182b;font-weight:bold}"
)


def load_unit(record: Record) -> str:
    """Returns the unit of a stage's load."""
    return "requests a second" if record.about.get("loop") == "open" else "clients"


def stage_rows(results: Sequence[StageResult]) -> list[list[str]]:
    """Returns a table of the stages, its head first."""
    return [list(_HEAD), *(_row(result.name, result) for result in results)]


def kind_rows(record: Record) -> list[list[str]]:
    """Returns a table of the kinds of request over the whole run, its head first."""
    if not record.spans:
        return [list(_HEAD)]
    whole = Span("", 0, record.spans[0].start, record.spans[-1].end)
    rows = []
    for kind in sorted({kind for _, kind in record.tallies}):
        row = _row(kind, result_of(record, whole, kind=kind))
        rows.append([row[0], *row[2:]])
    return [["kind", *_HEAD[2:]], *rows]


def terminal_text(record: Record, results: Sequence[StageResult], findings: Sequence[Finding]) -> str:
    """Returns the whole report as plain text."""
    lines = [*_aligned(stage_rows(results)), "", *_aligned(kind_rows(record)), "", _knee_sentence(record, results), ""]
    lines += _aligned([[_word(one), one.stage, one.what, one.value] for one in findings], text=True)
    lines += [f"{count} x {fault}" for fault, count in _faults(record)]
    return "\n".join([*lines, "", verdict(findings), ""])


def verdict(findings: Sequence[Finding]) -> str:
    """Returns one sentence: PASS, or how many objectives were missed."""
    missed = sum(not finding.met for finding in findings)
    if not missed:
        return f"PASS: all {len(findings)} objectives met."
    return f"FAIL: {missed} of {len(findings)} objectives missed."


def html_page(
    record: Record, results: Sequence[StageResult], findings: Sequence[Finding], pictures: Sequence[str]
) -> str:
    """Returns a page with everything.

    Args:
        record: The run.
        results: Its stages.
        findings: The objectives.
        pictures: SVG documents.
    """
    parts = [
        f"<h1>Load test: {escape(record.about.get('shape', ''))}</h1>",
        f'<p class="{"met" if all(one.met for one in findings) else "missed"}">{escape(verdict(findings))}</p>',
        f"<p>{escape(_knee_sentence(record, results))}</p>",
        *(picture[picture.index("<svg") :] for picture in pictures),
        "<h2>Stages</h2>",
        _table(stage_rows(results)),
        f"<p>Load is in {load_unit(record)}. Latency is that of right answers"
        + (
            ", counted from the time at which the request was due.</p>"
            if record.about.get("loop") == "open"
            else ".</p>"
        ),
        "<h2>Kinds of request</h2>",
        _table(kind_rows(record)),
        "<h2>Objectives</h2>",
        _table(
            [["", "stage", "objective", "measured"], *([_word(f), f.stage, f.what, f.value] for f in findings)], "text"
        ),
        "<h2>Failures</h2>",
        _table([[fault, str(count)] for fault, count in _faults(record)], "text") if record.faults else "<p>None.</p>",
        "<h2>What was run</h2>",
        _table([[key, value] for key, value in record.about.items()], "text"),
        f"<p>{NOTICE}</p>",
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Load test</title>'
        f"<style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</html>\n"
    )


def _row(name: str, result: StageResult) -> list[str]:
    return [
        name,
        f"{result.load:g}",
        str(result.due),
        f"{result.throughput_per_s:.1f}",
        f"{result.images_per_s:.1f}",
        *(f"{result.latency_ms(percent):.0f}" for percent in (50, 95, 99)),
        f"{result.answered_percent:.2f}",
        f"{result.refused_percent:.2f}",
        str(result.failed),
    ]


def _knee_sentence(record: Record, results: Sequence[StageResult]) -> str:
    found = knee(results)
    if found is not None:
        return (
            f"Knee at {found.load:g} {load_unit(record)}: {found.throughput_per_s:.1f} answers a second,"
            f" 95 % within {found.latency_ms(95):.0f} ms."
        )
    if len({result.load for result in results}) < 3:
        return "No knee is looked for: that takes at least three different loads."
    return "No knee: throughput follows the load to the end."


def _faults(record: Record) -> list[tuple[str, int]]:
    return sorted(record.faults.items(), key=lambda item: -item[1])


def _word(finding: Finding) -> str:
    return "met" if finding.met else "MISSED"


def _aligned(rows: Sequence[Sequence[str]], *, text: bool = False) -> list[str]:
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if text or column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _table(rows: Sequence[Sequence[str]], style: str = "") -> str:
    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}{_colour(cell)}>{escape(cell)}</{tag}>" for cell in row)

    first, rest = ("th", rows[1:]) if style == "" or rows[0][0] == "" else ("td", rows[1:])
    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rest)
    return f'<table class="{style}"><tr>{cells(rows[0], first)}</tr>{body}</table>'


def _colour(cell: str) -> str:
    return {"met": ' class="met"', "MISSED": ' class="missed"'}.get(cell, "")
