"""Every metric of this project: name, unit, labels, buckets.

`prometheus_client` decides on import whether it writes to the files that BentoML's workers share
(`PROMETHEUS_MULTIPROC_DIR`), so it is imported on first use, in the worker, and never with this module.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from brainmri.contract import Contract
    from brainmri.inference.runtime import RuntimeInfo

STAGE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The metrics of one process.

    Args:
        registry: Where they register; the process-wide registry, which `/metrics` shows, if None.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        from prometheus_client import REGISTRY, Counter, Gauge, Histogram  # noqa: PLC0415 -- see above

        where = REGISTRY if registry is None else registry
        self._requests = Counter(
            "brainmri_requests",
            "HTTP requests by route template ('unmatched' for unknown paths) and status class.",
            ["route", "status"],
            registry=where,
        )
        self._stages = Histogram(
            "brainmri_stage_seconds",
            "Time of one image in each stage: decode, queue, inference, total.",
            ["stage"],
            buckets=STAGE_BUCKETS_S,
            registry=where,
        )
        self._predictions = Counter(
            "brainmri_predictions", "Images answered, by predicted label.", ["label"], registry=where
        )
        # Info metrics do not exist in multiprocess mode; every worker sets the same 1.
        self._model = Gauge(
            "brainmri_model_info",
            "The loaded model; always 1.",
            ["name", "version", "runtime", "preprocessing"],
            multiprocess_mode="livemax",
            registry=where,
        )

    def count_request(self, route: str, status: int) -> None:
        """Counts one answered request.

        Args:
            route: A route template, never a raw path: each value is a time series.
            status: HTTP status.
        """
        self._requests.labels(route, f"{status // 100}xx").inc()

    def observe_prediction(self, label: str | None, timings_ms: Mapping[str, float]) -> None:
        """Counts one answered image and the time of each of its stages, in ms."""
        self._predictions.labels(label or "none").inc()
        for stage, elapsed_ms in timings_ms.items():
            self._stages.labels(stage).observe(elapsed_ms / 1e3)

    def announce_model(self, contract: Contract, runtime: RuntimeInfo) -> None:
        """Shows which model this process answers with."""
        self._model.labels(contract.name, contract.version, runtime.name, contract.input.preprocessing_version).set(1)


@functools.cache
def process_metrics() -> Metrics:
    """Returns the one set of metrics of this process, made on first use."""
    return Metrics()
