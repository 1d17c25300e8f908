"""Five times more arrivals than the service can answer, its way back to normal, and corrupt images among good ones.

python -m benchmarks.overload --seconds 120
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from benchmarks.corrupt import REFUSAL, measure_corrupt
from benchmarks.load import GRACE_S, LoadProcess, load_process
from benchmarks.messages import upload
from benchmarks.options import DEFAULT_BUNDLE, BundleFolder, Count, Side, WriteTo
from benchmarks.pictures import damaged, pictures
from benchmarks.reference import Reference, reference_process, sure
from benchmarks.report import DEFAULT_FOLDER, Report, table, target
from benchmarks.server import Server, serve
from benchmarks.summary import percentile
from benchmarks.traffic import ClosedLoop, Exchange, Flow, Item, Load, OpenLoop, Record
from benchmarks.watch import Sample, at, watch

CLIENTS = 32
PEAK_S = 10.0
QUIET_S = 10.0
QUIET_SHARE = 0.2
"""Arrivals of the quiet load, as a share of the capacity."""

RETURN_S = 15.0
NORMAL = 1.5
"""Latency is normal again when a second's median is at most this times the median before the overload."""

SETTLE_S = 10.0
"""Memory is compared with what it is after so much of the overload, in seconds: by then the queue is full."""

REFUSALS = ("429", "503")


@dataclass(frozen=True)
class Overload:
    """What a multiple of the capacity did.

    Attributes:
        capacity_per_s: Results a second at 32 clients, before.
        arrivals_per_s: Arrivals a second that were sent.
        goodput_per_s: Results a second under overload.
        statuses: How often each was seen.
        without_retry: Refusals that do not say when to come back.
        unexplained: Requests that were neither answered nor refused.
        unsent: Arrivals that the generator held back.
        answer_p95_ms: 95th percentile of the time to a result.
        refusal_p95_ms: 95th percentile of the time to a refusal.
        generator_cpu_ms: CPU milliseconds that the generator takes for a request.
        quiet_p50_ms: Median latency of the quiet load before.
        back_s: Seconds from the last arrival of the overload until latency was normal again.
        growth: Memory in the second half of the overload, as a multiple of that when its queue was full.
    """

    capacity_per_s: float
    arrivals_per_s: float
    goodput_per_s: float
    statuses: dict[str, int]
    without_retry: int
    unexplained: int
    unsent: int
    answer_p95_ms: float
    refusal_p95_ms: float
    generator_cpu_ms: float
    quiet_p50_ms: float
    back_s: float
    growth: float


def main(
    seconds: Annotated[float, typer.Option(min=5, max=600, help="Length of the overload.")] = 120,
    times: Annotated[float, typer.Option(min=1, max=20, help="Arrivals, in multiples of the capacity.")] = 5,
    side: Side = 224,
    count: Count = 100,
    bundle: BundleFolder = DEFAULT_BUNDLE,
    output: WriteTo = DEFAULT_FOLDER / "overload",
) -> None:
    """Measure goodput, refusals, memory and recovery at a multiple of the capacity."""
    source, images = pictures(count, side)
    with reference_process(bundle) as reference:
        answered = sure(images, reference.run(Reference.predict, images))
    good = [Item(upload(image), answer.verdict) for image, answer in answered]
    corrupt = [Item(upload(image), REFUSAL) for image in damaged(images[:20])]
    setting = {"bundle": bundle.name, "images": f"{len(good)} {source}", "overload": f"{times:g} times, {seconds:g} s"}
    report = Report("overload", setting)
    with load_process() as load, serve(bundle.parent) as server:
        _measure_overload(report, server, load, good, seconds, times)
        measure_corrupt(report, server, load, good, corrupt, 15)
    report.publish(output)


def _measure_overload(
    report: Report, server: Server, load: LoadProcess, items: Sequence[Item], seconds: float, times: float
) -> None:
    def flow(name: str, schedule: ClosedLoop | OpenLoop, start_s: float = 0, end_s: float | None = None) -> Flow:
        return Flow(name, server.http_port, items, schedule, start_s=start_s, end_s=end_s)

    peak = load.run([flow("peak", ClosedLoop(CLIENTS))], 2 + PEAK_S).records[0].rate_per_s(2, 2 + PEAK_S)
    begin_s, end_s = QUIET_S, QUIET_S + seconds
    flows = [
        flow("before", OpenLoop(QUIET_SHARE * peak, 1), 0, begin_s),
        flow("overload", OpenLoop(times * peak, 2), begin_s, end_s),
        flow("after", OpenLoop(QUIET_SHARE * peak, 3), end_s, end_s + RETURN_S),
    ]
    whole_s = end_s + RETURN_S
    seen, samples = watch(server, load.start(flows, whole_s), 1, whole_s + GRACE_S + 60)
    result = judge(seen, samples, peak, begin_s, end_s)
    report.numbers |= {"overload": asdict(result), "memory": [asdict(sample) for sample in samples]}
    _tell(report, result, samples)


def judge(load: Load, samples: Sequence[Sample], capacity_per_s: float, begin_s: float, end_s: float) -> Overload:
    """Reads the records `before`, `overload` and `after`; the overload lasts from `begin_s` to `end_s`."""
    before, heavy, after = load.records
    refused = [one for one in heavy.exchanges if one.status in REFUSALS]
    full_s = begin_s + min(SETTLE_S, (end_s - begin_s) / 4)
    late = [one.resident_mib for one in samples if (begin_s + end_s) / 2 <= one.at_s <= end_s]
    return Overload(
        capacity_per_s=capacity_per_s,
        arrivals_per_s=len(heavy.exchanges) / (end_s - begin_s),
        goodput_per_s=heavy.rate_per_s(begin_s, end_s),
        statuses=heavy.statuses(),
        without_retry=sum(one.retry_after_s is None for one in refused),
        unexplained=sum(not one.good for one in heavy.exchanges) - len(refused),
        unsent=heavy.unsent,
        answer_p95_ms=heavy.latency_ms(95),
        refusal_p95_ms=percentile([one.latency_s * 1e3 for one in refused], 95),
        generator_cpu_ms=load.cpu_ms_per_request,
        quiet_p50_ms=before.latency_ms(50),
        back_s=seconds_until_normal(after, before.latency_ms(50), end_s),
        growth=max(late) / at(samples, full_s),
    )


def seconds_until_normal(after: Record, normal_ms: float, end_s: float) -> float:
    """Returns how long after `end_s` a second began whose median latency was normal; infinity if none did."""
    for second in range(int(RETURN_S)):
        due = [one for one in after.exchanges if second <= one.due_s - end_s < second + 1]
        if due and all(one.good for one in due) and _median_ms(due) <= NORMAL * normal_ms:
            return float(second)
    return float("inf")


def _median_ms(exchanges: Sequence[Exchange]) -> float:
    return percentile([one.latency_s * 1e3 for one in exchanges], 50)


def _tell(report: Report, result: Overload, samples: Sequence[Sample]) -> None:
    memory = [sample.resident_mib for sample in samples]
    facts = {
        f"capacity at {CLIENTS} clients, images/s": f"{result.capacity_per_s:.1f}",
        "arrivals/s": f"{result.arrivals_per_s:.1f}",
        "goodput, images/s": f"{result.goodput_per_s:.1f}",
        "answers by status": str(result.statuses),
        "arrivals held back by the generator": str(result.unsent),
        "p95 to a result, ms": f"{result.answer_p95_ms:.0f}",
        "p95 to a refusal, ms": f"{result.refusal_p95_ms:.1f}",
        "generator, CPU ms a request": f"{result.generator_cpu_ms:.2f}",
        "median latency of the quiet load before, ms": f"{result.quiet_p50_ms:.1f}",
        "server memory at first, at most, at last, MiB": f"{memory[0]:.0f}, {max(memory):.0f}, {memory[-1]:.0f}",
    }
    report.add("## Overload")
    report.add(*table(["what", "value"], [[name, value] for name, value in facts.items()]))
    report.add(
        *table(
            ["figure", "asked", "value", ""],
            [
                target("goodput / capacity", result.goodput_per_s / result.capacity_per_s, at_least=0.9),
                target("refusals without Retry-After", result.without_retry, at_most=0),
                target("requests neither answered nor refused", result.unexplained, at_most=0),
                target("memory in the second half / with the queue full", result.growth, at_most=1.05),
                target("seconds until latency is normal again", result.back_s, at_most=10),
            ],
        )
    )


if __name__ == "__main__":
    typer.run(main)
