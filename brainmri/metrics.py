"""Every metric of this project: name, unit, labels, buckets. `docs/metrics.md` is written from this module.

`prometheus_client` decides on import whether it writes to the files that BentoML's workers share
(`PROMETHEUS_MULTIPROC_DIR`), so it is imported on first use, in the worker, and never with this module.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from brainmri.errors import BrainMRIError, InvalidInput, ModelNotFound, Unauthenticated
from brainmri.exposition import QUEUE_OLDEST, exposition
from brainmri.request_record import current_record

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    from brainmri.inference.predictor import Prediction, Predictor

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""From the fastest decode that matters to the longest request."""

_TENTHS = tuple(round(0.1 * step, 1) for step in range(1, 10))

_CALLERS_FAULT = frozenset(
    {
        "CANCELLED",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
    }
)
"""gRPC codes that count as 4xx; the others but OK are 5xx."""

_PROBES = ("/ServerLive", "/ServerReady", "/ModelReady")
_PROBE_SERVICES = ("grpc.health.", "grpc.reflection.")

Kind = Literal["counter", "gauge", "histogram"]
Across = Literal["", "livesum", "livemax", "livemin"]


@dataclass(frozen=True)
class Spec:
    """One metric.

    Attributes:
        name: Without the suffixes that Prometheus adds (`_total`, `_bucket`).
        kind: Its type.
        help: What it counts, with the unit.
        labels: Names of its labels; each combination of their values is a time series.
        buckets: Upper bounds of a histogram.
        across: How a gauge's values of several workers become one; dead workers do not count.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    across: Across = ""


REQUESTS = Spec(
    "brainmri_requests",
    "counter",
    "Requests answered, by route template or gRPC method, protocol (http, open_inference_rest, grpc) and status class;"
    " 499, a caller that left, is a 4xx. Probes, /metrics and unknown paths are not counted.",
    ("route", "protocol", "status"),
)
REQUEST_SECONDS = Spec(
    "brainmri_request_seconds",
    "histogram",
    "Time from a request's first byte to the end of its answer, its upload included, in seconds.",
    ("route", "protocol"),
    SECONDS,
)
RPCS = Spec("brainmri_rpcs", "counter", "gRPC calls answered, by method and code.", ("method", "code"))
STAGES = Spec(
    "brainmri_stage_seconds",
    "histogram",
    "Time of one image in each stage (decode, queue, inference, total), in seconds.",
    ("stage",),
    SECONDS,
)
BATCH = Spec(
    "brainmri_batch_images",
    "histogram",
    "Images in one run of the network.",
    buckets=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256, 512, 1024),
)
QUEUE = Spec("brainmri_queue_images", "gauge", "Images that wait for the network.", across="livesum")
OLDEST = Spec(
    QUEUE_OLDEST,
    "gauge",
    "How long the oldest waiting image has waited, in seconds, as of the scrape; 0 when none waits.",
    across="livemin",
)
IN_FLIGHT = Spec("brainmri_in_flight_images", "gauge", "Images accepted and not answered yet.", across="livesum")
REFUSED = Spec(
    "brainmri_refused",
    "counter",
    "Requests, or items of one, that were not run, by reason: queue_full, deadline (the predicted wait exceeds it),"
    " draining, expired (it passed while waiting), or the code of the caller's error, such as image_unreadable.",
    ("reason",),
)
PREDICTIONS = Spec(
    "brainmri_predictions",
    "counter",
    "Images answered, by predicted label; none when the service abstains.",
    ("label",),
)
VERDICTS = Spec(
    "brainmri_verdicts",
    "counter",
    "Images answered, by verdict: a label, not_a_brain_mri, or unsure.",
    ("verdict",),
)
CONFIDENCE = Spec(
    "brainmri_confidence_ratio",
    "histogram",
    "Largest calibrated probability of each image answered, from 0 to 1.",
    buckets=(0.25, *_TENTHS[2:], 0.95, 0.99, 1.0),
)
NOVELTY = Spec(
    "brainmri_novelty_ratio",
    "histogram",
    "Novelty score of each image answered, in the unit of the contract's threshold; none without a detector.",
    buckets=(*_TENTHS, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0),
)
MODEL = Spec(
    "brainmri_model_info",
    "gauge",
    "A model that is being served; always 1.",
    ("name", "version", "runtime", "preprocessing"),
    across="livemax",
)
THREADS = Spec(
    "brainmri_runtime_threads",
    "gauge",
    "Threads of a served model's runtime, all workers together.",
    ("name", "version", "runtime"),
    across="livesum",
)

SPECS = (
    REQUESTS,
    REQUEST_SECONDS,
    RPCS,
    STAGES,
    BATCH,
    QUEUE,
    OLDEST,
    IN_FLIGHT,
    REFUSED,
    PREDICTIONS,
    VERDICTS,
    CONFIDENCE,
    NOVELTY,
    MODEL,
    THREADS,
)


class Metrics:
    """The metrics of one process; also the observer of the batcher.

    Args:
        registry: Where they register; one of their own if None.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        from prometheus_client import CollectorRegistry  # noqa: PLC0415 -- see above

        self._registry = CollectorRegistry() if registry is None else registry
        self._requests = self._counter(REQUESTS)
        self._request_seconds = self._histogram(REQUEST_SECONDS)
        self._rpcs = self._counter(RPCS)
        self._stages = self._histogram(STAGES)
        self._batch = self._histogram(BATCH)
        self._queue = self._gauge(QUEUE)
        self._oldest = self._gauge(OLDEST)
        self._in_flight = self._gauge(IN_FLIGHT)
        self._refused = self._counter(REFUSED)
        self._predictions = self._counter(PREDICTIONS)
        self._verdicts = self._counter(VERDICTS)
        self._confidence = self._histogram(CONFIDENCE)
        self._novelty = self._histogram(NOVELTY)
        self._model = self._gauge(MODEL)
        self._threads = self._gauge(THREADS)
        self.set_queue(0, 0)

    def count_request(self, route: str, protocol: str, status: int, seconds: float | None = None) -> None:
        """Counts one answered request.

        Args:
            route: A route template, never a raw path: each value is a time series.
            protocol: `http`, `open_inference_rest` or `grpc`.
            status: HTTP status.
            seconds: From its first byte to the end of the answer.
        """
        self._requests.labels(route, protocol, f"{status // 100}xx").inc()
        if seconds is not None:
            self._request_seconds.labels(route, protocol).observe(seconds)

    def count_rpc(self, method: str, code: str, seconds: float) -> None:
        """Counts one answered gRPC call, also among the requests; health, readiness and reflection are left out.

        Args:
            method: A method that is served, such as `/inference.GRPCInferenceService/ModelInfer`; unknown ones would
                let callers make time series.
            code: Name of its `grpc.StatusCode`.
            seconds: From its arrival to its answer.
        """
        method = method.lstrip("/")
        if method.startswith(_PROBE_SERVICES) or method.endswith(_PROBES):
            return
        self._rpcs.labels(method, code).inc()
        status = 200 if code == "OK" else 400 if code in _CALLERS_FAULT else 500
        self.count_request(method, "grpc", status, seconds)

    def observe_prediction(self, prediction: Prediction) -> None:
        """Counts one answered image, its scores and the time of each of its stages.

        Notes it in the record of the request too: every interface makes this one call, so that none forgets the log.
        """
        if (request := current_record.get()) is not None:
            request.note(prediction)
        self._predictions.labels(prediction.label or "none").inc()
        self._verdicts.labels(prediction.verdict).inc()
        self._confidence.observe(prediction.confidence)
        if prediction.novelty is not None:
            self._novelty.observe(prediction.novelty)
        for stage, elapsed_ms in prediction.timings_ms.items():
            self._stages.labels(stage).observe(elapsed_ms / 1e3)

    def observe_batch(self, images: int) -> None:
        """Counts one run of the network on so many images."""
        self._batch.observe(images)

    def count_refusal(self, reason: str) -> None:
        """Counts one refusal; `reason` is one of a fixed set, never text of a caller."""
        self._refused.labels(reason).inc()

    def count_error(self, error: BrainMRIError) -> None:
        """Counts an error answer, of a request or of one item, if it is the caller's fault.

        What the batcher refuses (`Overloaded`, `DeadlineExceeded`, `NotReady`) it has counted itself, by reason.
        """
        if isinstance(error, InvalidInput | Unauthenticated | ModelNotFound):
            self.count_refusal(error.code)

    def set_queue(self, images: int, oldest_age_s: float) -> None:
        """Shows how many images wait, and for how many seconds the oldest of them has waited."""
        self._queue.set(images)
        # Kept as an instant, because an age would stand still when the queue does.
        self._oldest.set(time.monotonic() - oldest_age_s if images else math.inf)

    def set_in_flight(self, images: int) -> None:
        """Shows how many images are accepted and not answered yet."""
        self._in_flight.set(images)

    def announce_models(self, predictors: Sequence[Predictor]) -> None:
        """Shows which models this process answers with, in place of those announced before."""
        # Series cannot be removed from the shared files; those that are 0 are not shown.
        for gauge in (self._model, self._threads):
            for metric in gauge.collect():
                for sample in metric.samples:
                    gauge.labels(**sample.labels).set(0)
        for predictor in predictors:
            contract, runtime = predictor.contract, predictor.runtime_info
            served = (contract.name, contract.version, runtime.name)
            self._model.labels(*served, contract.input.preprocessing_version).set(1)
            self._threads.labels(*served).set(runtime.threads)

    def exposition(self) -> bytes:
        """Returns the metrics of all workers in Prometheus's text format; reads files, so call it in a thread."""
        return exposition(self._registry)

    def _counter(self, spec: Spec) -> Counter:
        from prometheus_client import Counter  # noqa: PLC0415

        return Counter(spec.name, spec.help, spec.labels, registry=self._registry)

    def _gauge(self, spec: Spec) -> Gauge:
        from prometheus_client import Gauge  # noqa: PLC0415

        assert spec.across  # noqa: S101 -- mypy
        return Gauge(spec.name, spec.help, spec.labels, registry=self._registry, multiprocess_mode=spec.across)

    def _histogram(self, spec: Spec) -> Histogram:
        from prometheus_client import Histogram  # noqa: PLC0415

        return Histogram(spec.name, spec.help, spec.labels, registry=self._registry, buckets=spec.buckets)


@functools.cache
def process_metrics() -> Metrics:
    """Returns the one set of metrics of this process, made on first use."""
    return Metrics()
