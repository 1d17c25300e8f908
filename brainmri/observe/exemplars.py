"""Exemplars: for each bucket of a histogram the trace of one request that fell into it.

A chart of latencies leads to the trace of a slow request by them. `prometheus_client` keeps none where several
processes share their metrics, so each worker keeps its own, and a scrape shows those of the worker that answers it.
"""

from __future__ import annotations

import bisect
import math
import time
from typing import TYPE_CHECKING

from brainmri.observe.metric_specs import Spec

if TYPE_CHECKING:
    from prometheus_client import Metric

_TRACE_LABEL = "trace_id"


class Exemplars:
    """The last traced observation of each bucket of each series."""

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
