"""What the rounds of the end-to-end measurement gave, and what follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.report import Report, table, target
from benchmarks.summary import Spread, ratios

UPLOADS, TENSORS, ALONE = "in process, decode and network", "in process, network only", "in process, one by one"
ALONE_NETWORK = "in process, one by one, network only"

_EXPLANATION = """\
Medians of the rounds, their range in brackets; every ratio is taken within its round. Ratio: images/s over those in
process, with decoding for JPEG and without for tensors. CPU ratio: CPU time that an image takes in process over what it
takes in the server, which other load on the machine disturbs less. The generator shares the CPUs with the server, so
its own CPU time lowers the ratio and not the CPU ratio. Other label: share of the answers whose class is not the one
that the reference gives to the image alone; some runtimes round otherwise in larger batches."""


@dataclass
class Rounds:
    """Every number, by measurement; one value a round.

    Attributes:
        images_per_s: Images a second.
        latency_ms: Median latency.
        p95_ms: 95th percentile of the latency.
        cpu_ms: CPU time for an image, all threads of the server or of the reference.
        loop_cpu_ms: The server's event loop's part of it.
        generator_cpu_ms: The load generator's CPU time for a request.
        resident_mib: The server's memory.
        unlike: Share of the answers that have another label than the reference gives.
    """

    images_per_s: dict[str, list[float]] = field(default_factory=dict)
    latency_ms: dict[str, list[float]] = field(default_factory=dict)
    p95_ms: dict[str, list[float]] = field(default_factory=dict)
    cpu_ms: dict[str, list[float]] = field(default_factory=dict)
    loop_cpu_ms: dict[str, list[float]] = field(default_factory=dict)
    generator_cpu_ms: dict[str, list[float]] = field(default_factory=dict)
    resident_mib: dict[str, list[float]] = field(default_factory=dict)
    unlike: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, **values: float) -> None:
        """Adds one round of a measurement."""
        for kind, value in values.items():
            getattr(self, kind).setdefault(name, []).append(value)

    def ratio(self, name: str, reference: str) -> Spread:
        """Compares images a second with a reference's."""
        return Spread.of(ratios(self.images_per_s[name], self.images_per_s[reference]))

    def cpu_ratio(self, name: str, reference: str) -> Spread:
        """Compares a reference's CPU time for an image with that of a measurement."""
        return Spread.of(ratios(self.cpu_ms[reference], self.cpu_ms[name]))

    def delay_ms(self, name: str, reference: str) -> Spread:
        """Says how much longer one waits than for a reference, in milliseconds."""
        pairs = zip(self.latency_ms[name], self.latency_ms[reference], strict=True)
        return Spread.of([one - other for one, other in pairs])


def report(rounds: Rounds, services: Mapping[str, str], setting: dict[str, str]) -> Report:
    """Returns the report.

    Args:
        rounds: What was measured.
        services: Measurements of the service, in the order to show, with the reference of each.
        setting: What was measured, in words.
    """
    found = Report("end_to_end", setting, asdict(rounds))
    rows = [_row(rounds, name, "") for name in (UPLOADS, TENSORS, ALONE)]
    rows += [_row(rounds, name, reference) for name, reference in services.items()]
    header = [
        "measurement",
        "images/s",
        "ratio",
        "CPU ratio",
        "p50 ms",
        "p95 ms",
        "CPU ms/image",
        "of it the event loop",
    ]
    found.add(*table([*header, "generator CPU ms", "server MiB", "other label"], rows))
    found.add(_EXPLANATION)
    found.add(*table(["figure", "asked", "median", ""], targets(rounds)))
    return found


def targets(rounds: Rounds) -> list[list[str]]:
    """Returns what was asked for, and what was reached."""
    jpeg, tensor = rounds.ratio("HTTP JPEG, 32", UPLOADS), rounds.ratio("gRPC tensor, 32", TENSORS)
    decoding = rounds.ratio("gRPC tensor, 32", UPLOADS)
    delay = rounds.delay_ms("HTTP JPEG, 1", ALONE)
    return [
        target("HTTP JPEG, 32 clients / decode and network in process", jpeg.median, at_least=0.92),
        target("gRPC tensor, 32 clients / decode and network in process", decoding.median, at_least=0.95),
        target("the same / network in process, which is stricter", tensor.median, at_least=0.95),
        target("HTTP JPEG, one client: ms more than decode and network", delay.median, at_most=4),
    ]


def _row(rounds: Rounds, name: str, reference: str) -> Sequence[str]:
    def text(numbers: Mapping[str, list[float]], digits: int) -> str:
        return Spread.of(numbers[name]).text(digits) if name in numbers else ""

    return [
        name,
        text(rounds.images_per_s, 1),
        rounds.ratio(name, reference).text(3) if reference else "",
        rounds.cpu_ratio(name, reference).text(3) if reference else "",
        text(rounds.latency_ms, 1),
        text(rounds.p95_ms, 1),
        text(rounds.cpu_ms, 2),
        text(rounds.loop_cpu_ms, 2),
        text(rounds.generator_cpu_ms, 2),
        text(rounds.resident_mib, 0),
        text(rounds.unlike, 4),
    ]
