"""The plot of the comparison: images a second at 32 clients, JPEG, one panel for each runtime."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.results import REFERENCE, Row
from benchmarks.peers.systems import OURS
from benchmarks.peers.tables import TITLES
from benchmarks.summary import Spread

_LOAD = "JPEG, 32"


def plot(rows: Sequence[Row], path: Path) -> None:
    """Writes a PNG; bars are medians of the rounds, lines their range."""
    from matplotlib.figure import Figure  # noqa: PLC0415 -- only this command draws

    figure = Figure(figsize=(11, 4), layout="constrained")
    for axes, (runtime, title) in zip(figure.subplots(1, 2, sharex=True), TITLES.items(), strict=True):
        spreads = {
            system: Spread.of(values)
            for system in dict.fromkeys(row.system for row in rows)
            if (values := _values(rows, system, runtime))
        }
        names = sorted(spreads, key=lambda name: spreads[name].median)
        medians = [spreads[name].median for name in names]
        below = [spreads[name].median - spreads[name].low for name in names]
        above = [spreads[name].high - spreads[name].median for name in names]
        colours = ["#2166ac" if name == OURS.name else "#999999" if name == REFERENCE else "#d6604d" for name in names]
        axes.barh(names, medians, xerr=[below, above], color=colours, capsize=3)
        axes.bar_label(axes.containers[-1], [f"{value:.0f}" for value in medians], padding=6)
        axes.set(title=title.partition(":")[0], xlabel="images/s, JPEG, 32 clients")
        axes.margins(x=0.15)
    figure.savefig(path, dpi=120)


def _values(rows: Sequence[Row], system: str, runtime: str) -> list[float]:
    # The reference and ours stand in both panels.
    wanted = "openvino" if system in (OURS.name, REFERENCE) else runtime
    return [
        row.loads[_LOAD].images_per_s for row in rows if row.system == system and row.runtime == wanted and row.loads
    ]
