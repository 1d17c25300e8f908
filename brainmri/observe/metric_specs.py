"""Every metric of this project: name, unit, labels, buckets. `docs/metrics.md` is written from this module."""

from dataclasses import dataclass
from typing import Literal

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""From the fastest decode that matters to the longest request."""

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
    "brainmri_queue_oldest_seconds",
    "gauge",
    "How long the oldest waiting image has waited, in seconds, as of the scrape; 0 when none waits.",
    across="livemin",
)
IN_FLIGHT = Spec("brainmri_in_flight_images", "gauge", "Images accepted and not answered yet.", across="livesum")
READY = Spec(
    "brainmri_ready",
    "gauge",
    "1 while every worker has its models loaded and warm and none is about to end, else 0; at most a second old.",
    across="livemin",
)
REFUSED = Spec(
    "brainmri_refused",
    "counter",
    "Requests, or items of one, that were not run, by reason: queue_full, deadline (the predicted wait exceeds it),"
    " draining, expired (it passed while waiting), or the code of the error: not_ready (still loading), overloaded (too"
    " many bodies or calls under way), or the caller's, such as image_unreadable.",
    ("reason",),
)
CONNECTION_REFUSALS = ("too_many", "too_many_of_client", "headers_too_large", "headers_late", "malformed")
CONNECTIONS_REFUSED = Spec(
    "brainmri_connections_refused",
    "counter",
    "HTTP connections that were ended before a request reached the application, by reason: "
    + ", ".join(CONNECTION_REFUSALS)
    + ".",
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
    buckets=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0),
)
NOVELTY = Spec(
    "brainmri_novelty_ratio",
    "histogram",
    "Novelty of each image answered: 1 is the median validation slice; nothing without a detector.",
    buckets=(0.5, 0.75, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.75, 2.0, 2.5, 3.0, 5.0, 10.0),
)
JOBS = Spec(
    "brainmri_scoring_jobs",
    "counter",
    "Bulk-scoring jobs that ended, by how: succeeded, failed or cancelled.",
    ("state",),
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

RESIDENT = Spec(
    "brainmri_process_resident_memory_bytes",
    "gauge",
    "Resident memory of each worker, in bytes.",
    ("pid",),
)
MEMORY_LIMIT = Spec(
    "brainmri_memory_limit_bytes",
    "gauge",
    "Most memory that the container may use, in bytes; nothing without a limit.",
)
CPU = Spec(
    "brainmri_process_cpu_seconds",
    "counter",
    "CPU time of each worker, user and system together, in seconds.",
    ("pid",),
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
    READY,
    REFUSED,
    CONNECTIONS_REFUSED,
    PREDICTIONS,
    VERDICTS,
    CONFIDENCE,
    NOVELTY,
    JOBS,
    MODEL,
    THREADS,
    RESIDENT,
    MEMORY_LIMIT,
    CPU,
)
