"""What the dashboard shows, row by row. Expressions name metrics of `docs/metrics.md` or recorded series."""

from collections.abc import Sequence

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from monitoring.grafana.panels import SELECTED, Limit, Query, distribution, graph, number, rows_of

Panels = Sequence[Builder[Panel]]

UNANSWERED, SLOW = 0.001, 0.05
"""Error budgets: the shares of requests that may go unanswered, and of predictions that may take more than 0.5 s."""

_PERCENTILES = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))


def overview() -> Panels:
    """The state of the service in six figures."""
    return [
        number(
            "Ready replicas",
            "Replicas whose workers all have their models loaded and warm.",
            "none",
            f"sum(namespace_job:brainmri_ready:sum{{{SELECTED}}})",
            limit=Limit(1, below=True),
        ),
        number(
            "Alerts firing",
            "See docs/runbook.md, which has an entry for each.",
            "none",
            'count(ALERTS{alertname=~"BrainMRI.*", alertstate="firing"}) or vector(0)',
            limit=Limit(1),
        ),
        number(
            "Answered, last hour",
            "Requests that were neither answered with 5xx nor refused for want of capacity. Objective: 99.9 %.",
            "percentunit",
            f"1 - max(namespace_job:brainmri_unanswered:ratio_rate1h{{{SELECTED}}})",
            limit=Limit(1 - UNANSWERED, below=True),
            decimals=2,
        ),
        number(
            "Under 500 ms, last hour",
            "Requests for one prediction, the upload included. Objective: 95 %.",
            "percentunit",
            f"1 - max(namespace_job:brainmri_slow:ratio_rate1h{{{SELECTED}}})",
            limit=Limit(1 - SLOW, below=True),
            decimals=1,
        ),
        number(
            "Requests a second",
            "All routes but probes.",
            "reqps",
            f"sum(namespace_job:brainmri_requests:rate5m{{{SELECTED}}})",
            decimals=1,
        ),
        number(
            "Images a second",
            "Images answered.",
            "cps",
            f"sum(namespace_job:brainmri_images:rate5m{{{SELECTED}}})",
            decimals=1,
        ),
    ]


def objectives() -> Panels:
    """How fast the error budgets are used up."""
    return [
        _burn_rate("Burn rate: unanswered requests", "unanswered", UNANSWERED),
        _burn_rate("Burn rate: slow predictions", "slow", SLOW),
    ]


def _burn_rate(title: str, series: str, budget: float) -> Builder[Panel]:
    windows = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
    return graph(
        title,
        "1 uses the error budget of 30 days up in 30 days. An alert fires when a long and a short window both exceed"
        " 14.4 (1h, 5m), 6 (6h, 30m), 3 (1d, 2h) or 1 (3d, 6h).",
        "none",
        [Query(f"max(namespace_job:brainmri_{series}:ratio_rate{w}{{{SELECTED}}}) / {budget}", w) for w in windows],
        span=12,
        limit=Limit(1),
    )


def golden_signals() -> Panels:
    """Latency, traffic, errors and saturation."""
    buckets = f"sum by (le) (namespace_job_le:brainmri_request_seconds_bucket:rate5m{{{SELECTED}}})"
    return [
        graph(
            "Latency of single predictions",
            "From a request's first byte to the end of its answer, the upload included. Objective: p95 below 0.5 s.",
            "s",
            [Query(f"histogram_quantile({q}, {buckets})", name) for q, name in _PERCENTILES],
            limit=Limit(0.5),
        ),
        graph(
            "p95 latency by route",
            "Bulk routes have no objective.",
            "s",
            [
                Query(
                    "histogram_quantile(0.95, sum by (route, le)"
                    f" (rate(brainmri_request_seconds_bucket{{{SELECTED}}}[$__rate_interval])))",
                    "{{route}}",
                )
            ],
        ),
        graph(
            "Traffic by route",
            "Requests answered, whatever the answer.",
            "reqps",
            [
                Query(
                    f"sum by (route, protocol) (rate(brainmri_requests_total{{{SELECTED}}}[$__rate_interval]))",
                    "{{route}} {{protocol}}",
                )
            ],
            stacked=True,
        ),
        graph(
            "Errors by route",
            "5xx are the service's fault. 4xx are the caller's, and 429 among them are refusals.",
            "reqps",
            [
                Query(
                    f'sum by (route, status) (rate(brainmri_requests_total{{{SELECTED}, status=~"4xx|5xx"}}'
                    "[$__rate_interval]))",
                    "{{status}} {{route}}",
                ),
                Query(
                    f'sum by (code) (rate(brainmri_rpcs_total{{{SELECTED}, code!="OK"}}[$__rate_interval]))',
                    "gRPC {{code}}",
                ),
            ],
        ),
        graph(
            "Refusals by reason",
            "Nothing was run for these. queue_full, deadline, overloaded and expired mean too little capacity.",
            "reqps",
            [Query(f"sum by (reason) (namespace_job_reason:brainmri_refused:rate5m{{{SELECTED}}})", "{{reason}}")],
            stacked=True,
        ),
        graph(
            "Replicas",
            "Those that can be scraped, and those that are ready.",
            "none",
            [
                Query(f"sum(up{{{SELECTED}}})", "scraped"),
                Query(f"sum(namespace_job:brainmri_ready:sum{{{SELECTED}}})", "ready"),
            ],
        ),
        graph(
            "CPU of each replica",
            "Cores in use, all workers together.",
            "none",
            [
                Query(
                    f"sum by (instance) (rate(brainmri_process_cpu_seconds_total{{{SELECTED}}}[$__rate_interval]))",
                    "{{instance}}",
                )
            ],
        ),
        graph(
            "Memory of each replica",
            "Resident memory of all workers together, and the limit of the container where there is one.",
            "bytes",
            [
                Query(f"sum by (instance) (brainmri_process_resident_memory_bytes{{{SELECTED}}})", "{{instance}}"),
                Query(f"min(brainmri_memory_limit_bytes{{{SELECTED}}})", "limit"),
            ],
        ),
        graph(
            "Images in flight",
            "Accepted and not answered yet.",
            "none",
            [Query(f"sum by (instance) (brainmri_in_flight_images{{{SELECTED}}})", "{{instance}}")],
        ),
    ]


def batching() -> Panels:
    """What the adaptive batcher does."""
    stages = f"sum by (stage, le) (namespace_job_stage_le:brainmri_stage_seconds_bucket:rate5m{{{SELECTED}}})"
    return [
        graph(
            "Queue",
            "Images that wait for the network.",
            "none",
            [Query(f"sum by (instance) (brainmri_queue_images{{{SELECTED}}})", "{{instance}}")],
            stacked=True,
        ),
        graph(
            "Oldest image in the queue",
            "How long it has waited; an alert fires when the queue grows and this is more than 0.5 s.",
            "s",
            [Query(f"max(namespace_job:brainmri_queue_oldest_seconds:max{{{SELECTED}}})", "oldest")],
            limit=Limit(0.5),
        ),
        graph(
            "p95 of each stage of an image",
            "Decoding, queue, network, and all of them.",
            "s",
            [Query(f"histogram_quantile(0.95, {stages})", "{{stage}}")],
        ),
        graph(
            "Images in one run of the network",
            "The mean. It rises with the load, up to BRAINMRI_MAX_BATCH_SIZE.",
            "none",
            [Query(f"max(namespace_job:brainmri_batch_images:mean_rate5m{{{SELECTED}}})", "mean")],
        ),
        distribution(
            "Batch sizes",
            "Runs of the network by their number of images.",
            "none",
            f"sum by (le) (increase(brainmri_batch_images_bucket{{{SELECTED}}}[$__rate_interval]))",
        ),
        graph(
            "Runs of the network a second",
            "Images a second are these times the images in one run.",
            "cps",
            [Query(f"sum(rate(brainmri_batch_images_count{{{SELECTED}}}[$__rate_interval]))", "runs")],
        ),
    ]


def model_behaviour() -> Panels:
    """Which model answers, and what it answers."""
    confidence = f"sum by (le) (rate(brainmri_confidence_ratio_bucket{{{SELECTED}}}[$__rate_interval]))"
    novelty = f"sum by (le) (rate(brainmri_novelty_ratio_bucket{{{SELECTED}}}[$__rate_interval]))"
    return [
        rows_of(
            "Models served",
            "Every replica should serve the same; see BrainMRIModelMismatch.",
            f"brainmri_model_info{{{SELECTED}}}",
            ("instance", "name", "version", "runtime", "preprocessing"),
            span=12,
        ),
        graph(
            "Threads of the runtime",
            "Of all workers of all replicas together.",
            "none",
            [Query(f"sum by (version, runtime) (brainmri_runtime_threads{{{SELECTED}}})", "{{version}} {{runtime}}")],
            span=12,
        ),
        graph(
            "Verdicts",
            "A class, unsure, or not_a_brain_mri.",
            "cps",
            [Query(f"sum by (verdict) (rate(brainmri_verdicts_total{{{SELECTED}}}[$__rate_interval]))", "{{verdict}}")],
            stacked=True,
        ),
        graph(
            "Labels",
            "What callers were told; none where the service abstains.",
            "cps",
            [Query(f"sum by (label) (rate(brainmri_predictions_total{{{SELECTED}}}[$__rate_interval]))", "{{label}}")],
            stacked=True,
        ),
        graph(
            "Confidence",
            "Largest calibrated probability: of the median image, and of the tenth least certain.",
            "percentunit",
            [
                Query(f"histogram_quantile(0.5, {confidence})", "median"),
                Query(f"histogram_quantile(0.1, {confidence})", "p10"),
            ],
        ),
        graph(
            "Novelty",
            "1 is the median validation slice; the contract's threshold is GET /model's.",
            "none",
            [
                Query(f"histogram_quantile(0.5, {novelty})", "median"),
                Query(f"histogram_quantile(0.95, {novelty})", "p95"),
            ],
        ),
        graph(
            "Bulk-scoring jobs that ended",
            "In the hour before, by how.",
            "none",
            [Query(f"sum by (state) (increase(brainmri_scoring_jobs_total{{{SELECTED}}}[1h]))", "{{state}}")],
        ),
    ]


def drift() -> Panels:
    """Drift: how inputs and answers differ from those that the model was evaluated on."""
    return [
        graph(
            "Classes of the last day, and expected",
            "Of the images that got a class. What is expected: monitoring/prometheus/rules/expectations.yaml.",
            "percentunit",
            [
                Query(
                    f"avg by (verdict) (namespace_job_verdict:brainmri_classified:ratio_increase1d{{{SELECTED}}})",
                    "{{verdict}}",
                ),
                Query("brainmri:expected_verdict:ratio", "{{verdict}}, expected"),
            ],
        ),
        graph(
            "Distance from the expected mix",
            "Share of the last day's images that would need another class. The alert also wants 500 images.",
            "percentunit",
            [Query(f"max(namespace_job:brainmri_class_mix:distance_increase1d{{{SELECTED}}})", "distance")],
            limit=Limit(0.2),
        ),
        graph(
            "No brain MRI, and unsure, of the last hour",
            "The alert fires when three times the expected share is no brain MRI, of at least 200 images.",
            "percentunit",
            [
                Query(f"max(namespace_job:brainmri_novel:ratio_increase1h{{{SELECTED}}})", "no brain MRI"),
                Query("3 * brainmri:expected_novel:ratio", "no brain MRI: alert"),
                Query(f"max(namespace_job:brainmri_unsure:ratio_increase1h{{{SELECTED}}})", "unsure"),
                Query("brainmri:expected_unsure:ratio", "unsure: expected"),
            ],
        ),
        distribution(
            "Distribution of novelty",
            "A second band above the first one means that another kind of image comes in.",
            "none",
            f"sum by (le) (increase(brainmri_novelty_ratio_bucket{{{SELECTED}}}[$__rate_interval]))",
            span=12,
        ),
        distribution(
            "Distribution of confidence",
            "The least certain images show a change first.",
            "percentunit",
            f"sum by (le) (increase(brainmri_confidence_ratio_bucket{{{SELECTED}}}[$__rate_interval]))",
            span=12,
        ),
    ]
