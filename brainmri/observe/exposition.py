"""What `/metrics` shows: the metrics of every live worker, and what the system knows about their processes."""

from __future__ import annotations

import bisect
import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from brainmri.observe.metric_specs import (
    CPU,
    MEMORY_LIMIT,
    MODEL,
    OLDEST,
    REQUEST_SECONDS,
    RESIDENT,
    STAGES,
    THREADS,
    Spec,
)

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric
    from prometheus_client.registry import Collector
    from prometheus_client.samples import Sample


_TRACE_LABEL = "trace_id"

WITH_EXEMPLARS = (REQUEST_SECONDS, STAGES)
"""The histograms whose buckets show exemplars."""

_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED_BYTES = 1 << 60
"""Control groups of version 1 without a limit hold a number beyond this."""


class Exemplars:
    """The trace of one request for each bucket of each histogram: a chart of latencies leads to a slow request by it.

    `prometheus_client` keeps none where several processes share their metrics, so each worker keeps its own, and a
    scrape shows those of the worker that answers it.
    """

    def __init__(self) -> None:
        self._last = dict[tuple[str, tuple[str, ...], float], tuple[str, float, float]]()

    def note(self, spec: Spec, labels: tuple[str, ...], value: float, trace_id: str | None) -> None:
        """Keeps one observation, in place of the one before it in the same bucket.

        Args:
            spec: The histogram.
            labels: Values of its labels, in its order.
            value: What was observed.
            trace_id: Of the request; 32 hexadecimal digits, nothing is kept if None.
        """
        if trace_id is None:
            return
        place = bisect.bisect_left(spec.buckets, value)
        bound = spec.buckets[place] if place < len(spec.buckets) else math.inf
        self._last[spec.name, labels, bound] = (trace_id, value, time.time())

    def add_to(self, family: Metric, spec: Spec) -> None:
        """Adds what is kept to the buckets of a histogram."""
        from prometheus_client.samples import Exemplar  # noqa: PLC0415 -- see brainmri/observe/metrics.py

        for place, sample in enumerate(family.samples):
            if "le" not in sample.labels:
                continue
            labels = tuple(sample.labels[name] for name in spec.labels)
            kept = self._last.get((spec.name, labels, float(sample.labels["le"])))
            if kept is not None:
                trace_id, value, at = kept
                family.samples[place] = sample._replace(exemplar=Exemplar({_TRACE_LABEL: trace_id}, value, at))


def content_type(accept: str) -> str:
    """Returns the content type of what `exposition` returns for the header `Accept` of a scraper."""
    return _encoder(accept)[1]


def exposition(registry: CollectorRegistry, exemplars: Exemplars, accept: str = "") -> bytes:
    """Returns everything in OpenMetrics with exemplars, if a scraper asks for it, or else in Prometheus's text format.

    Args:
        registry: The metrics of this process; not read where `PROMETHEUS_MULTIPROC_DIR` names the files of all workers.
        exemplars: Of this process.
        accept: The header `Accept` of the scraper.
    """
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 -- see brainmri/observe/metrics.py
    from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead  # noqa: PLC0415

    workers = [os.getpid()]
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        workers, dead = _workers(Path(folder))
        for pid in dead:
            # Another scrape may remove the same files at the same time.
            with contextlib.suppress(FileNotFoundError):
                mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    families = [*map(_finish, registry.collect()), *_process_families(workers)]
    traced = {spec.name: spec for spec in WITH_EXEMPLARS}
    for family in families:
        if family.name in traced:
            # The text format leaves them out.
            exemplars.add_to(family, traced[family.name])
    shown = CollectorRegistry()
    shown.register(_Families(families))
    return _encoder(accept)[0](shown)


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415

    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):  # A version that is not a number.
        return choose_encoder("")


class _Families:
    """Metrics that are computed already, as a collector."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = sorted(families, key=lambda family: family.name)

    def collect(self) -> Iterable[Metric]:
        return self._families


def _finish(family: Metric) -> Metric:
    # The files of several workers hold no times of creation; a single process shows none either.
    family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
    if family.name == OLDEST.name:
        # Stored as the instant at which the oldest image was queued.
        family.samples = [sample._replace(value=_age_s(sample.value)) for sample in family.samples]
    elif family.name in (MODEL.name, THREADS.name):
        family.samples = [sample for sample in family.samples if sample.value]
    elif family.type == "histogram":
        family.samples.sort(key=_bucket_order)
    return family


def _age_s(instant: float) -> float:
    return 0.0 if math.isinf(instant) else max(0.0, time.monotonic() - instant)


def _bucket_order(sample: Sample) -> tuple[tuple[tuple[str, str], ...], int, float]:
    # The workers' files bring a sum before its buckets; the format wants them after.
    series = tuple(sorted(pair for pair in sample.labels.items() if pair[0] != "le"))
    rank = ("_bucket", "_sum", "_count").index(sample.name[sample.name.rindex("_") :])
    return series, rank, float(sample.labels.get("le", 0))


def _workers(folder: Path) -> tuple[list[int], list[int]]:
    """Returns the processes that wrote to `folder`: those that still run, and those that do not."""
    written = {int(file.stem.rsplit("_", 1)[1]) for file in folder.glob("*.db")}
    # The number of a dead worker may have been given to a stranger; a worker has the parent that we have.
    live = {pid for pid in written if pid == os.getpid() or _parent(pid) == os.getppid()}
    return sorted(live | {os.getpid()}), sorted(written - live)


def _parent(pid: int) -> int | None:
    try:
        process = psutil.Process(pid)
        # A zombie still has a parent.
        return None if process.status() == psutil.STATUS_ZOMBIE else process.ppid()
    except psutil.Error:
        return None


def _process_families(pids: Iterable[int]) -> Iterator[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

    resident = GaugeMetricFamily(RESIDENT.name, RESIDENT.help, labels=RESIDENT.labels)
    cpu = CounterMetricFamily(CPU.name, CPU.help, labels=CPU.labels)
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            times = process.cpu_times()
            resident.add_metric([str(pid)], process.memory_info().rss)
            cpu.add_metric([str(pid)], times.user + times.system)
    limit = GaugeMetricFamily(MEMORY_LIMIT.name, MEMORY_LIMIT.help, labels=MEMORY_LIMIT.labels)
    if (limit_bytes := memory_limit_bytes()) is not None:
        limit.add_metric([], limit_bytes)
    yield from (resident, limit, cpu)


def memory_limit_bytes(cgroup: Path = _CGROUP) -> int | None:
    """Returns the memory limit of the container in bytes, None without one.

    Args:
        cgroup: Where the control groups are mounted (v2 `memory.max`, or v1 `memory/memory.limit_in_bytes`).
    """
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError):
            limit = (cgroup / name).read_text().strip()
            return int(limit) if limit.isdigit() and int(limit) < _UNLIMITED_BYTES else None
    return None
