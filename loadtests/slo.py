"""Service level objectives, and whether the stages of a run met them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.histogram import Histogram, merged, percentile_ms, share_within
from loadtests.record import Record, Span


@dataclass(frozen=True)
class Slo:
    """What is asked for.

    Attributes:
        answered: Least percentage of right answers among requests that were not refused; at any load.
        within: Least percentage of answers that come within `within_ms`.
        within_ms: Milliseconds.
        refused: Most percentage of requests that are refused.
        up_to: Load up to which `within` and `refused` are asked for: beyond it the service may be slow and may refuse,
            but must not fail. None means any load.
    """

    answered: float = 99.9
    within: float = 95.0
    within_ms: float = 500.0
    refused: float = 0.1
    up_to: float | None = None


@dataclass(frozen=True)
class StageResult:
    """What a stage has shown, without the seconds in which it settled.

    Attributes:
        name: Of the stage.
        load: Arrivals a second, or clients.
        seconds: How many seconds are counted.
        answered: Requests with a right answer.
        refused: Requests refused with a time to come back.
        failed: Requests without a right answer.
        finished: Right answers that came in these seconds.
        images: In them.
        latency: Of `answered`.
    """

    name: str
    load: float
    seconds: int
    answered: int
    refused: int
    failed: int
    finished: int
    images: int
    latency: Histogram

    @property
    def due(self) -> int:
        """Requests that were due."""
        return self.answered + self.refused + self.failed

    @property
    def answered_percent(self) -> float:
        """Right answers among requests that were not refused; NaN without any."""
        return _percent(self.answered, self.answered + self.failed)

    @property
    def refused_percent(self) -> float:
        """Refusals among all requests; NaN without any."""
        return _percent(self.refused, self.due)

    @property
    def throughput_per_s(self) -> float:
        """Right answers a second."""
        return self.finished / self.seconds if self.seconds else math.nan

    @property
    def images_per_s(self) -> float:
        """Images a second in right answers."""
        return self.images / self.seconds if self.seconds else math.nan

    def within_percent(self, limit_ms: float) -> float:
        """Returns the percentage of answers within a limit; NaN without any."""
        return 100 * share_within(self.latency, limit_ms)

    def latency_ms(self, percent: float) -> float:
        """Returns a percentile of the latency in milliseconds; NaN without any answer."""
        return percentile_ms(self.latency, percent)


@dataclass(frozen=True)
class Finding:
    """One objective at one stage.

    Attributes:
        stage: Its name.
        what: The objective, with its limit.
        value: What was measured, with its unit.
        met: Whether it was met.
    """

    stage: str
    what: str
    value: str
    met: bool


def stage_results(record: Record, settle_s: float) -> list[StageResult]:
    """Returns what each stage has shown, without its first seconds, in which users start and queues change."""
    return [result_of(record, span, settle_s) for span in record.spans]


def result_of(record: Record, span: Span, settle_s: float = 0.0, kind: str | None = None) -> StageResult:
    """Returns what one stage has shown.

    Args:
        record: The run.
        span: The stage.
        settle_s: Seconds to leave out at its start.
        kind: Only this kind of request; None for all.
    """
    seconds = range(math.ceil(span.start + settle_s), math.floor(span.end))
    tallies = [
        tally for (second, of), tally in record.tallies.items() if second in seconds and (kind is None or of == kind)
    ]
    return StageResult(
        name=span.name,
        load=span.load,
        seconds=len(seconds),
        answered=sum(tally.answered for tally in tallies),
        refused=sum(tally.refused for tally in tallies),
        failed=sum(tally.failed for tally in tallies),
        finished=sum(tally.finished for tally in tallies),
        images=sum(tally.images for tally in tallies),
        latency=merged(tally.latency for tally in tallies),
    )


def judge(record: Record, results: Sequence[StageResult], slo: Slo) -> list[Finding]:
    """Compares every stage with the objectives. A stage without a request meets none of them."""
    findings = []
    if record.ended_early:
        findings.append(Finding("run", "runs to its end", record.ended_early, met=False))
    if not results:
        findings.append(Finding("run", "has stages", "none", met=False))
    if record.kinds:
        findings.append(_every_kind(record))
    for result in results:
        findings += _judge_stage(result, slo, open_loop=record.about.get("loop") == "open")
    return findings


def _every_kind(record: Record) -> Finding:
    sent = {kind for (_, kind), tally in record.tallies.items() if tally.due}
    missing = [kind for kind in record.kinds if kind not in sent]
    value = f"none of {', '.join(missing)}" if missing else f"all {len(record.kinds)}"
    return Finding("run", "requests of every kind", value, met=not missing)


def _judge_stage(result: StageResult, slo: Slo, *, open_loop: bool) -> list[Finding]:
    answered, within, refused = result.answered_percent, result.within_percent(slo.within_ms), result.refused_percent
    findings = [
        Finding(result.name, f"at least {slo.answered:g} % answered", f"{answered:.3f} %", met=answered >= slo.answered)
    ]
    if slo.up_to is None or result.load <= slo.up_to:
        what = f"at least {slo.within:g} % within {slo.within_ms:g} ms"
        findings.append(Finding(result.name, what, f"{within:.2f} %", met=within >= slo.within))
        what = f"at most {slo.refused:g} % refused"
        findings.append(Finding(result.name, what, f"{refused:.3f} %", met=refused <= slo.refused))
    if open_loop:
        findings.append(_load_was_sent(result))
    return findings


def _load_was_sent(result: StageResult) -> Finding:
    """Arrivals are a Poisson process: 4 standard deviations fewer than planned do not happen by chance."""
    planned = result.load * result.seconds
    least = planned - 4 * math.sqrt(planned)
    what = f"the generator sent at least {max(0.0, least):.0f} requests"
    return Finding(result.name, what, str(result.due), met=result.due >= least)


def knee(results: Sequence[StageResult]) -> StageResult | None:
    """Returns the stage where throughput stops following the load, or None if it follows to the end.

    It is the point farthest above the straight line from the origin to the corner of the curve of throughput over load,
    both scaled to 1. Source: Satopaa et al., "Finding a 'Kneedle' in a Haystack", 2011.
    """
    loads = {result.load for result in results}
    most = max((result.throughput_per_s for result in results if result.seconds), default=0.0)
    if len(loads) < 3 or not most > 0:
        return None

    def height(result: StageResult) -> float:
        return result.throughput_per_s / most - result.load / max(loads)

    best = max(results, key=height)
    return best if height(best) >= 0.05 else None


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else math.nan
