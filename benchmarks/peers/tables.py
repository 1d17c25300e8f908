"""Tables of the measured rounds: medians, spreads, and ratios to the reference of the same round."""

import math
from collections.abc import Sequence

from benchmarks.peers.measure import CLIENTS
from benchmarks.peers.results import REFERENCE, Row
from benchmarks.peers.systems import OURS, WIRES
from benchmarks.report import Report, table, target
from benchmarks.summary import Spread

TITLES = {
    "openvino": "Every system on the same runtime: this bundle's OpenVINO int8 network",
    "tensorflow": "Every peer on its usual runtime: the same weights on TensorFlow",
}

_EXPLANATION = """\
Medians of the rounds, their range in brackets. Ratio: images/s at 32 clients over those of the OpenVINO int8 network
in process in the same round, decoding ahead for JPEG, tensors at hand otherwise. Ready: from the start of the process,
with environments and model store filled. MiB: resident memory of all its processes after the loads; what they share
counts in each. Other label: share of the answers whose class is not the one that the reference gives to the image
alone."""


def add_tables(report: Report, rows: Sequence[Row]) -> None:
    """Adds one table for each runtime, what could not be measured, and what was asked for."""
    for runtime, title in TITLES.items():
        chosen = [row for row in rows if row.runtime == runtime or row.system == OURS.name]
        systems = list(dict.fromkeys(row.system for row in chosen if row.system != REFERENCE and row.loads))
        if systems:
            report.add(f"## {title}")
            _add_runtime(report, rows, runtime, systems)
    report.add(_EXPLANATION)
    if failures := {(row.system, row.runtime): row.error for row in rows if row.error}:
        report.add(
            *(
                f"- {system} on {runtime} could not be measured: {why.splitlines()[0]}"
                for (system, runtime), why in failures.items()
            )
        )
    if goals := targets(rows):
        report.add("## What was asked for")
        report.add(*table(["figure", "asked", "median", ""], goals))


def _add_runtime(report: Report, rows: Sequence[Row], runtime: str, systems: Sequence[str]) -> None:
    for wire in WIRES:
        header = [
            wire,
            *(f"images/s, {n}" for n in CLIENTS),
            *(f"p50 ms, {n}" for n in CLIENTS),
            "p95 ms, 32",
            "ratio",
            "failed",
            "other label",
        ]
        lines = [_line(rows, system, _runtime_of(system, runtime), wire) for system in systems]
        report.add(*table(header, lines))
    header = ["system", "ready s", "MiB"]
    lines = []
    for system in systems:
        own = _of(rows, system, _runtime_of(system, runtime))
        lines.append([system, _text([row.ready_s for row in own], 1), _text([row.resident_mib for row in own], 0)])
    report.add(*table(header, lines))


def _line(rows: Sequence[Row], system: str, runtime: str, wire: str) -> list[str]:
    own = _of(rows, system, runtime)

    def spread(figure: str, clients: int, digits: int) -> str:
        return _text([getattr(row.loads[f"{wire}, {clients}"], figure) for row in own], digits)

    ratio = ratio_to_reference(rows, system, runtime, f"{wire}, 32")
    return [
        system,
        *(spread("images_per_s", clients, 1) for clients in CLIENTS),
        *(spread("p50_ms", clients, 1) for clients in CLIENTS),
        spread("p95_ms", 32, 1),
        "" if math.isnan(ratio.median) else _spread_text(ratio, 2),
        str(sum(row.loads[f"{wire}, {clients}"].failed for row in own for clients in CLIENTS)),
        f"{max(row.loads[f'{wire}, {clients}'].unlike for row in own for clients in CLIENTS):.3f}",
    ]


def _text(values: Sequence[float], digits: int) -> str:
    return _spread_text(Spread.of(values), digits)


def _spread_text(spread: Spread, digits: int) -> str:
    # One round has no range.
    return spread.text(digits) if spread.rounds > 1 else f"{spread.median:.{digits}f}"


def ratio_to_reference(rows: Sequence[Row], system: str, runtime: str, load: str) -> Spread:
    """Compares images a second with those in process, round by round; NaN without a common round."""
    reference = {row.round: row.loads[load].images_per_s for row in rows if row.system == REFERENCE}
    own = _of(rows, system, runtime)
    ratios = [row.loads[load].images_per_s / reference[row.round] for row in own if row.round in reference]
    return Spread.of(ratios or [math.nan])


def targets(rows: Sequence[Row]) -> list[list[str]]:
    """Returns what was asked for, and what was reached; empty while our service or the peers are missing."""
    ours = _of(rows, OURS.name, "openvino")
    peers = {(row.system, row.runtime) for row in rows if row.loads and row.system not in (REFERENCE, OURS.name)}
    on_tensorflow, on_openvino = ([s for s, r in peers if r == wanted] for wanted in ("tensorflow", "openvino"))
    if not ours or not peers:
        return []
    found = []
    for wire in WIRES:
        busy, alone = f"{wire}, 32", f"{wire}, 1"
        for name, systems, runtime, least in (
            ("the fastest peer on TensorFlow", on_tensorflow, "tensorflow", 3.5),
            ("the fastest peer on the same runtime", on_openvino, "openvino", 1.0),
        ):
            if systems:
                best = max(_median(rows, s, runtime, busy, "images_per_s") for s in systems)
                value = _median(rows, OURS.name, "openvino", busy, "images_per_s") / best
                found.append(target(f"{wire}, 32 clients: images/s / {name}", value, at_least=least))
        if on_tensorflow:
            best = min(_median(rows, s, "tensorflow", alone, "p50_ms") for s in on_tensorflow)
            value = _median(rows, OURS.name, "openvino", alone, "p50_ms") / best
            found.append(target(f"{wire}, one client: median latency / the best on TensorFlow", value, at_most=1 / 3))
    found.append(target("resident memory, MiB", Spread.of([row.resident_mib for row in ours]).median, at_most=700))
    found.append(target("seconds until ready", Spread.of([row.ready_s for row in ours]).median, at_most=5))
    return found


def _median(rows: Sequence[Row], system: str, runtime: str, load: str, figure: str) -> float:
    return Spread.of([getattr(row.loads[load], figure) for row in _of(rows, system, runtime)]).median


def _of(rows: Sequence[Row], system: str, runtime: str) -> list[Row]:
    return [row for row in rows if row.system == system and row.runtime == runtime and row.loads]


def _runtime_of(system: str, runtime: str) -> str:
    # Ours has one usual runtime, which stands in both tables.
    return "openvino" if system == OURS.name else runtime
