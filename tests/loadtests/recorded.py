"""Records of runs that never took place, with known figures."""

from collections.abc import Sequence

from loadtests.histogram import bucket_of, merged
from loadtests.record import Record, Span, Tally

KIND = "POST /predict"
SECONDS = 10


def record_of(*stages: tuple[int, int, Sequence[float]]) -> Record:
    """Returns a record with 10 s for each `(load, throughput, latencies)` and 5 s without anything between them.

    All requests are answered; the latencies, in milliseconds, are dealt out in turn. Throughput is set apart from them.
    """
    record = Record({"loop": "open", "shape": "steps"})
    for number, (load, throughput, latencies) in enumerate(stages):
        start = 1000 + number * (SECONDS + 5)
        record.spans.append(Span(f"{load}", load, start, start + SECONDS))
        for second in range(start, start + SECONDS):
            latency = merged({bucket_of(latencies[one % len(latencies)]): 1} for one in range(load))
            record.tallies[second, KIND] = Tally(latency, finished=throughput)
    return record
