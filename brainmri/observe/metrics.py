"""The metrics: one object for each process, called by the interfaces and the batcher; `metric_specs.py` has the list.

`prometheus_client` decides on import whether it writes to the files that BentoML's workers share
(`PROMETHEUS_MULTIPROC_DIR`), so it is imported on first use, in the worker, and never with this module.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from brainmri.errors import BrainMRIError, InvalidInput, ModelNotFound, NotReady, Overloaded, Unauthenticated
from brainmri.observe import metric_specs as specs
from brainmri.observe.exposition import Exemplars, exposition
from brainmri.observe.request_record import RequestRecord, is_rpc_probe
from brainmri.observe.subjects import AnsweredImage, LoadedModel

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

JobEnd = Literal["succeeded", "failed", "cancelled"]
"""How a bulk-scoring job ends."""

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


class Metrics:
    """The metrics of one process; also the observer of the batcher.

    Args:
        registry: Where they register; one of their own if None.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        from prometheus_client import CollectorRegistry  # noqa: PLC0415 -- see above

        self._registry = CollectorRegistry() if registry is None else registry
        self._exemplars = Exemplars()
        self._requests = self._counter(specs.REQUESTS)
        self._request_seconds = self._histogram(specs.REQUEST_SECONDS)
        self._rpcs = self._counter(specs.RPCS)
        self._stages = self._histogram(specs.STAGES)
        self._batch = self._histogram(specs.BATCH)
        self._queue = self._gauge(specs.QUEUE)
        self._oldest = self._gauge(specs.OLDEST)
        self._in_flight = self._gauge(specs.IN_FLIGHT)
        self._ready = self._gauge(specs.READY)
        self._refused = self._counter(specs.REFUSED)
        self._connections_refused = self._counter(specs.CONNECTIONS_REFUSED)
        self._predictions = self._counter(specs.PREDICTIONS)
        self._verdicts = self._counter(specs.VERDICTS)
        self._confidence = self._histogram(specs.CONFIDENCE)
        self._novelty = self._histogram(specs.NOVELTY)
        self._jobs = self._counter(specs.JOBS)
        self._model = self._gauge(specs.MODEL)
        self._threads = self._gauge(specs.THREADS)
        self.set_queue(0, 0)
        for reason in specs.CONNECTION_REFUSALS:
            self._connections_refused.labels(reason)
        for state in get_args(JobEnd):
            # A series that began with the first failure would hide it: Prometheus sees only what increases.
            self._jobs.labels(state)

    def count_request(
        self, route: str, protocol: str, status: int, seconds: float | None = None, trace_id: str | None = None
    ) -> None:
        """Counts one answered request.

        Args:
            route: A route template, never a raw path: each value is a time series.
            protocol: `http`, `open_inference_rest` or `grpc`.
            status: HTTP status.
            seconds: From its first byte to the end of the answer.
            trace_id: Of its trace, if it has one.
        """
        self._requests.labels(route, protocol, f"{status // 100}xx").inc()
        if seconds is not None:
            self._request_seconds.labels(route, protocol).observe(seconds)
            self._exemplars.note(specs.REQUEST_SECONDS, (route, protocol), seconds, trace_id)

    def count_rpc(self, method: str, code: str, seconds: float, trace_id: str | None = None) -> None:
        """Counts one answered gRPC call, also among the requests; health, readiness and reflection are left out.

        Args:
            method: A method that is served, such as `/inference.GRPCInferenceService/ModelInfer`; unknown ones would
                let callers make time series.
            code: Name of its `grpc.StatusCode`.
            seconds: From its arrival to its answer.
            trace_id: Of its trace, if it has one.
        """
        method = method.lstrip("/")
        if is_rpc_probe(method):
            return
        self._rpcs.labels(method, code).inc()
        status = 200 if code == "OK" else 400 if code in _CALLERS_FAULT else 500
        self.count_request(method, "grpc", status, seconds, trace_id)

    def observe_prediction(self, prediction: AnsweredImage, record: RequestRecord | None = None) -> None:
        """Counts one answered image, its scores and the time of each of its stages.

        Args:
            prediction: The answer.
            record: Of the request that the image came with, which notes it too; None for an image of a job, or of a
                batch that BentoML gathered from several requests.
        """
        if record is not None:
            record.note(prediction)
        self._predictions.labels(prediction.label or "none").inc()
        self._verdicts.labels(prediction.verdict).inc()
        self._confidence.observe(prediction.confidence)
        if prediction.novelty is not None:
            self._novelty.observe(prediction.novelty)
        for stage, elapsed_ms in prediction.timings_ms.items():
            self._stages.labels(stage).observe(elapsed_ms / 1e3)
            if record is not None:
                self._exemplars.note(specs.STAGES, (stage,), elapsed_ms / 1e3, record.trace_id)

    def observe_batch(self, images: int) -> None:
        """Counts one run of the network on so many images."""
        self._batch.observe(images)

    def count_refusal(self, reason: str) -> None:
        """Counts one refusal; `reason` is one of a fixed set, never text of a caller."""
        self._refused.labels(reason).inc()

    def count_refused_connection(self, reason: str) -> None:
        """Counts a connection that is ended before a request reached the application, by a reason of a fixed set."""
        self._connections_refused.labels(reason).inc()

    def count_error(self, error: BrainMRIError) -> None:
        """Counts an error answer, of a request or of one item, if nothing was run for it.

        What the batcher refuses it has counted itself, by reason. So it has every accepted image whose deadline passed;
        a deadline that passed before that, during the upload, is not a refusal.
        """
        refusal = isinstance(error, InvalidInput | Unauthenticated | ModelNotFound | NotReady | Overloaded)
        if refusal and not error.counted:
            self.count_refusal(error.code)

    def count_job(self, state: JobEnd) -> None:
        """Counts a bulk-scoring job that has ended."""
        self._jobs.labels(state).inc()

    def set_queue(self, images: int, oldest_age_s: float) -> None:
        """Shows how many images wait, and for how many seconds the oldest of them has waited."""
        self._queue.set(images)
        # Kept as an instant, because an age would stand still when the queue does.
        self._oldest.set(time.monotonic() - oldest_age_s if images else math.inf)

    def set_in_flight(self, images: int) -> None:
        """Shows how many images are accepted and not answered yet."""
        self._in_flight.set(images)

    def set_ready(self, ready: bool) -> None:
        """Shows whether this process has its models loaded and warm and is not about to end."""
        self._ready.set(ready)

    def announce_models(self, models: Sequence[LoadedModel]) -> None:
        """Shows which models this process answers with, in place of those announced before."""
        # Series cannot be removed from the shared files; those that are 0 are not shown.
        for gauge in (self._model, self._threads):
            for metric in gauge.collect():
                for sample in metric.samples:
                    gauge.labels(**sample.labels).set(0)
        for served in models:
            identity = (served.model.name, served.model.version, served.model.runtime)
            self._model.labels(*identity, served.preprocessing_version).set(1)
            self._threads.labels(*identity).set(served.threads)

    def exposition(self, accept: str = "") -> bytes:
        """Returns the metrics of all workers; reads files, so call it in a thread.

        Args:
            accept: The header `Accept` of the scraper, see `exposition.content_type`.
        """
        return exposition(self._registry, self._exemplars, accept)

    def _counter(self, spec: specs.Spec) -> Counter:
        from prometheus_client import Counter  # noqa: PLC0415

        return Counter(spec.name, spec.help, spec.labels, registry=self._registry)

    def _gauge(self, spec: specs.Spec) -> Gauge:
        from prometheus_client import Gauge  # noqa: PLC0415

        assert spec.across  # noqa: S101 -- mypy
        return Gauge(spec.name, spec.help, spec.labels, registry=self._registry, multiprocess_mode=spec.across)

    def _histogram(self, spec: specs.Spec) -> Histogram:
        from prometheus_client import Histogram  # noqa: PLC0415

        return Histogram(spec.name, spec.help, spec.labels, registry=self._registry, buckets=spec.buckets)


@functools.cache
def process_metrics() -> Metrics:
    """Returns the one set of metrics of this process, made on first use."""
    return Metrics()
