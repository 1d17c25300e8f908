"""One corrupt image in a hundred among many clients: it is refused, and changes nothing for the others."""

from collections.abc import Sequence

from benchmarks.load import LoadProcess
from benchmarks.report import Report, table, target
from benchmarks.server import Server
from benchmarks.traffic import ClosedLoop, Exchange, Flow, Item, Load, Record

CLIENTS = 64
EVERY = 100
REFUSAL = "image_unreadable"

_LEAD_S = 1.0


def measure_corrupt(
    report: Report, server: Server, load: LoadProcess, good: Sequence[Item], corrupt: Sequence[Item], seconds: float
) -> None:
    """Adds to the report what a mixture of images did, beside the good ones alone.

    Args:
        report: Gets a section.
        server: The service.
        load: The generator.
        good: Requests with the verdict that they expect.
        corrupt: Requests that expect `REFUSAL`.
        seconds: Length of each of the two loads.
    """
    items = mixture(good, corrupt)

    def run(name: str, sent: Sequence[Item]) -> Load:
        return load.run([Flow(name, server.http_port, sent, ClosedLoop(CLIENTS))], _LEAD_S + seconds)

    clean, mixed = run("clean", good).records[0], run("mixed", items).records[0]
    harmed, spared = misjudged(mixed, items)
    end_s = _LEAD_S + seconds
    # The corrupt ones cost no inference, so what counts is how many good ones are answered.
    pace = mixed.rate_per_s(_LEAD_S, end_s) / clean.rate_per_s(_LEAD_S, end_s)
    report.numbers["corrupt"] = {
        "statuses": mixed.statuses(),
        "harmed": [one._asdict() for one in harmed],
        "spared": [one._asdict() for one in spared],
        "pace": pace,
        "p95_ms": {"clean": clean.latency_ms(95, _LEAD_S), "mixed": mixed.latency_ms(95, _LEAD_S)},
    }
    report.add(f"## One corrupt image in {EVERY}, {CLIENTS} clients")
    report.add(f"Answers by status: {mixed.statuses()}.")
    report.add(
        *table(
            ["figure", "asked", "value", ""],
            [
                target("good images not answered as when alone", len(harmed), at_most=0),
                target("corrupt images not refused", len(spared), at_most=0),
                target("results/s / without corrupt ones", pace, at_least=0.95),
            ],
        )
    )


def mixture(good: Sequence[Item], corrupt: Sequence[Item]) -> list[Item]:
    """Returns each of the corrupt requests once, every hundredth request being one."""
    return [
        corrupt[number // EVERY] if number % EVERY == EVERY - 1 else good[number % len(good)]
        for number in range(EVERY * len(corrupt))
    ]


def misjudged(record: Record, items: Sequence[Item]) -> tuple[list[Exchange], list[Exchange]]:
    """Returns the exchanges with good images that were answered otherwise, and those with corrupt ones not refused."""
    wrong = record.wrong(items)
    return [one for one in wrong if items[one.item].expected != REFUSAL], [
        one for one in wrong if items[one.item].expected == REFUSAL
    ]
