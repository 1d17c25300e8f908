"""Writes `docs/metrics.md`: `python -m docs.scripts.metrics > docs/metrics.md`."""

import sys

from brainmri.observe.metric_specs import SPECS, Spec

_HEAD = """# Metrics

Written by `python -m docs.scripts.metrics` from `brainmri/observe/metric_specs.py`; a test compares the two.

`GET /metrics` shows the figures of all workers together, whichever of them answers; it needs no API key. Counters and
histograms are sums, which workers that have died stay part of; gauges are of the workers that run. The workers of a
server share them in `BENTOML_HOME/brainmri/servers/<HTTP port>/metrics`, which is emptied as the server starts.

A scraper that asks for OpenMetrics (`Accept: application/openmetrics-text; version=1.0.0`) gets it; Prometheus does by
itself. Buckets of `brainmri_request_seconds` and `brainmri_stage_seconds` then carry an exemplar each: the `trace_id`
of the last request with a trace that fell into the bucket, in the worker that answers the scrape. Prometheus keeps
them with `--enable-feature=exemplar-storage`.

A histogram `x` has the series `x_bucket`, `x_count` and `x_sum`. Probes (`/livez`, `/readyz`, `/healthz`, `/metrics`,
the health and readiness of the Open Inference Protocol and of gRPC) and unknown paths make no series.

| metric | type | labels | meaning |
|---|---|---|---|
"""


def document() -> str:
    """Returns the text of `docs/metrics.md`."""
    buckets = [f"- `{spec.name}`: {_bounds(spec)}" for spec in SPECS if spec.buckets]
    return _HEAD + "".join(map(_row, SPECS)) + "\n## Upper bounds of the buckets\n" + "\n".join(buckets) + "\n"


def _row(spec: Spec) -> str:
    name = f"{spec.name}_total" if spec.kind == "counter" else spec.name
    labels = ", ".join(f"`{label}`" for label in spec.labels)
    return f"| `{name}` | {spec.kind} | {labels} | {spec.help} |\n"


def _bounds(spec: Spec) -> str:
    return ", ".join(f"{bound:g}" for bound in spec.buckets)


if __name__ == "__main__":
    sys.stdout.write(document())
