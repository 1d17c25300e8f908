"""Pictures of a run: over load, with the knee, and over time."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.record import Record, Span
from loadtests.slo import Slo, StageResult, knee, result_of

PERCENTILES = (50, 95, 99)

_SHADES = {50: "#9ecae1", 95: "#3182bd", 99: "#08306b"}
_ANSWERED, _REFUSED, _FAILED, _MARK = "#31a354", "#e6ad00", "#c0392b", "#555555"
_WINDOWS = 60
"""Points over time, at most."""


def over_load(results: Sequence[StageResult], slo: Slo, unit: str) -> Figure:
    """Draws throughput and latency percentiles against load, and marks the knee.

    Args:
        results: At least two stages.
        slo: Its limit is drawn.
        unit: Of the load.
    """
    results = sorted(results, key=lambda result: result.load)
    loads = [result.load for result in results]
    figure, (above, below) = _figure(f"load, {unit}")
    above.plot(loads, [result.throughput_per_s for result in results], "o-", color=_ANSWERED, label="answered")
    above.plot(loads, [_rate(result.refused, result) for result in results], "s-", color=_REFUSED, label="refused")
    above.plot(loads, [_rate(result.failed, result) for result in results], "x-", color=_FAILED, label="failed")
    for percent in PERCENTILES:
        values = [result.latency_ms(percent) for result in results]
        below.plot(loads, values, "o-", color=_SHADES[percent], label=f"{percent} %")
    found = knee(results)
    if found:
        for axes in (above, below):
            axes.axvline(found.load, color=_MARK, linestyle="--", linewidth=1)
        above.annotate(
            f"knee: {found.load:g}",
            (found.load, 0.92),
            xycoords=("data", "axes fraction"),
            xytext=(-5, 0),
            textcoords="offset points",
            color=_MARK,
            ha="right",
        )
    _finish(above, below, slo)
    return figure


def over_time(record: Record, slo: Slo) -> Figure:
    """Draws throughput and latency percentiles against time, with the stages' borders."""
    start, end = record.spans[0].start, record.spans[-1].end
    width = max(1, math.ceil((end - start) / _WINDOWS))
    spans = [Span("", 0, at, at + width) for at in range(math.ceil(start), math.floor(end) - width + 1, width)]
    results = [result_of(record, span) for span in spans]
    times = [span.start - start + width / 2 for span in spans]
    figure, (above, below) = _figure("time, s")
    above.plot(times, [_rate(result.finished, result) for result in results], "-", color=_ANSWERED, label="answered")
    above.plot(times, [_rate(result.refused, result) for result in results], "-", color=_REFUSED, label="refused")
    above.plot(times, [_rate(result.failed, result) for result in results], "-", color=_FAILED, label="failed")
    for percent in PERCENTILES:
        values = [result.latency_ms(percent) for result in results]
        below.plot(times, values, "-", color=_SHADES[percent], label=f"{percent} %")
    for span in record.spans[1:]:
        for axes in (above, below):
            axes.axvline(span.start - start, color=_MARK, linestyle=":", linewidth=1)
    _finish(above, below, slo)
    return figure


def save(figure: Figure, path: Path) -> str:
    """Writes it as SVG and as PNG, and returns the SVG's text."""
    figure.savefig(path.with_suffix(".png"), dpi=120)
    drawn = io.StringIO()
    # Without a date and random ids, so that the same figures make the same file.
    with rc_context({"svg.hashsalt": "load test"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    # matplotlib leaves spaces at the ends of lines.
    text = "\n".join(line.rstrip() for line in drawn.getvalue().splitlines()) + "\n"
    path.with_suffix(".svg").write_text(text)
    return text


def _figure(below: str) -> tuple[Figure, tuple[Axes, Axes]]:
    figure = Figure(figsize=(8, 6), layout="constrained")
    throughput, latency = figure.subplots(2, 1, sharex=True)
    throughput.set_ylabel("requests a second")
    latency.set_ylabel("latency, ms")
    latency.set_yscale("log")
    latency.set_xlabel(below)
    return figure, (throughput, latency)


def _finish(above: Axes, below: Axes, slo: Slo) -> None:
    below.axhline(slo.within_ms, color=_FAILED, linestyle="--", linewidth=1, label=f"limit for {slo.within:g} %")
    above.set_ylim(bottom=0)
    for axes in (above, below):
        axes.grid(visible=True, alpha=0.3)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")


def _rate(count: int, result: StageResult) -> float:
    return count / result.seconds if result.seconds else math.nan
