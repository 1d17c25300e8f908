"""The server's counters beside what the clients saw."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.traffic import GOOD, LEFT, Flow, Record

Key = tuple[str, str, str]
"""Route, protocol, status class, as in `brainmri_requests_total`."""


@dataclass(frozen=True)
class Route:
    """Where a flow goes, as the metrics name it."""

    template: str
    protocol: str


@dataclass(frozen=True)
class Difference:
    """One counter, as the clients and the server see it.

    Attributes:
        key: Which one.
        seen: Answers that clients got.
        counted: What the server counted meanwhile.
        left: Clients of the route that did not wait: the server may or may not have counted them here.
    """

    key: Key
    seen: int
    counted: int
    left: int

    @property
    def explained(self) -> bool:
        """Tells whether the server counted every answer that was seen, and else only those of clients that left."""
        return self.seen <= self.counted <= self.seen + self.left


def requests(exposition: str) -> dict[Key, int]:
    """Returns `brainmri_requests_total` of a text in Prometheus's format."""
    return {
        (labels["route"], labels["protocol"], labels["status"]): int(value)
        for labels, value in _samples(exposition, "brainmri_requests_total")
    }


def answered_images(exposition: str) -> int:
    """Returns how many images were answered, `brainmri_predictions_total` of every label."""
    return int(sum(value for _, value in _samples(exposition, "brainmri_predictions_total")))


def compare(
    routes: Mapping[str, Route], records: Sequence[Record], before: Mapping[Key, int], after: Mapping[Key, int]
) -> list[Difference]:
    """Returns every counter that changed or should have.

    Args:
        routes: Where each flow goes, by its name.
        records: What the clients saw.
        before: Counters before the load.
        after: Counters after it.
    """
    seen: Counter[Key] = Counter()
    left: Counter[Route] = Counter()
    for record in records:
        route = routes[record.flow]
        for one in record.exchanges:
            if one.status == LEFT:
                left[route] += 1
            else:
                seen[route.template, route.protocol, status_class(one.status)] += 1
    counted = {key: value - before.get(key, 0) for key, value in after.items() if value != before.get(key, 0)}
    return [
        Difference(key, seen[key], counted.get(key, 0), left[Route(key[0], key[1])])
        for key in sorted({*seen, *counted})
    ]


def images_seen(flows: Sequence[Flow], records: Sequence[Record], failed: str) -> int:
    """Returns how many images the clients have answers for.

    Args:
        flows: What was sent.
        records: What came back.
        failed: Code that stands in an answer of several images for one that was refused.
    """
    total = 0
    for flow, record in zip(flows, records, strict=True):
        for one in record.exchanges:
            if one.good:
                total += flow.items[one.item].images - one.answer.split(",").count(failed)
    return total


def status_class(status: str) -> str:
    """Returns `2xx` for a result, and the class of an HTTP status or gRPC code otherwise, as the metrics count it."""
    if status in GOOD:
        return "2xx"
    if status.isdigit():
        return f"{status[0]}xx"
    return "5xx" if status in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "DATA_LOSS") else "4xx"


def _samples(exposition: str, name: str) -> Iterator[tuple[Mapping[str, str], float]]:
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name == name:
                yield sample.labels, sample.value
