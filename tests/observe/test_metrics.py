import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from brainmri.errors import (
    BrainMRIError,
    DeadlineExceeded,
    ImageUnreadable,
    ModelNotFound,
    NotReady,
    Overloaded,
    Unauthenticated,
)
from brainmri.model.predictor import ModelIdentity, Prediction
from brainmri.observe.exposition import content_type, memory_limit_bytes
from brainmri.observe.metric_specs import SPECS
from brainmri.observe.metrics import Metrics
from brainmri.observe.request_record import RequestRecord
from docs.scripts.metrics import document

ROOT = Path(__file__).parents[2]


def prediction(**changes: Any) -> Prediction:
    parts: dict[str, Any] = {
        "label": "glioma",
        "confidence": 0.97,
        "probabilities": {"glioma": 0.97, "meningioma": 0.01, "notumor": 0.01, "pituitary": 0.01},
        "verdict": "glioma",
        "novelty": 1.05,
        "in_distribution": True,
        "model": ModelIdentity("brain_mri_xception", "0.0.1", "openvino-f32"),
        "timings_ms": {"decode": 4.0, "queue": 6.0, "inference": 30.0, "total": 40.0},
    }
    return Prediction(**{**parts, **changes})


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Parses an exposition with Prometheus's own parser."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(text: str, name: str, /, **labels: str) -> float | None:
    return samples(text).get((name, frozenset(labels.items())))


def shown(metrics: Metrics, name: str, /, **labels: str) -> float | None:
    return value(metrics.exposition().decode(), name, **labels)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def test_a_request_is_counted_by_route_protocol_and_status_class(metrics: Metrics) -> None:
    for status in (200, 201, 404, 499):
        metrics.count_request("/predict", "http", status, 0.02)
    shape = {"route": "/predict", "protocol": "http"}
    assert shown(metrics, "brainmri_requests_total", **shape, status="2xx") == 2
    assert shown(metrics, "brainmri_requests_total", **shape, status="4xx") == 2
    assert shown(metrics, "brainmri_request_seconds_sum", **shape) == pytest.approx(0.08)
    assert shown(metrics, "brainmri_request_seconds_bucket", **shape, le="0.01") == 0
    assert shown(metrics, "brainmri_request_seconds_bucket", **shape, le="0.025") == 4


def test_a_prediction_is_counted_with_its_scores_and_stages(metrics: Metrics) -> None:
    metrics.observe_prediction(prediction())
    metrics.observe_prediction(prediction(label=None, verdict="not_a_brain_mri", confidence=0.45, novelty=4.0))
    assert shown(metrics, "brainmri_predictions_total", label="glioma") == 1
    assert shown(metrics, "brainmri_predictions_total", label="none") == 1
    assert shown(metrics, "brainmri_verdicts_total", verdict="not_a_brain_mri") == 1
    assert [shown(metrics, "brainmri_confidence_ratio_bucket", le=le) for le in ("0.4", "0.5", "0.95", "0.99")] == [
        0,
        1,
        1,
        2,
    ]
    assert [shown(metrics, "brainmri_novelty_ratio_bucket", le=le) for le in ("1.0", "1.1", "3.0", "5.0")] == [
        0,
        1,
        1,
        2,
    ]
    sums = {stage: shown(metrics, "brainmri_stage_seconds_sum", stage=stage) for stage in ("decode", "queue", "total")}
    assert sums == {"decode": pytest.approx(0.008), "queue": pytest.approx(0.012), "total": pytest.approx(0.08)}


def test_without_a_detector_there_is_no_novelty(metrics: Metrics) -> None:
    metrics.observe_prediction(prediction(novelty=None))
    assert shown(metrics, "brainmri_novelty_ratio_count") == 0
    assert shown(metrics, "brainmri_confidence_ratio_count") == 1


def test_a_rpc_counts_among_the_requests_too(metrics: Metrics) -> None:
    method = "inference.GRPCInferenceService/ModelInfer"
    for code in ("OK", "OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "INTERNAL"):
        metrics.count_rpc(f"/{method}", code, 0.1)
    assert shown(metrics, "brainmri_rpcs_total", method=method, code="OK") == 2
    assert shown(metrics, "brainmri_rpcs_total", method=method, code="INTERNAL") == 1
    by_class = [
        shown(metrics, "brainmri_requests_total", route=method, protocol="grpc", status=status)
        for status in ("2xx", "4xx", "5xx")
    ]
    assert by_class == [2, 2, 2]
    assert shown(metrics, "brainmri_request_seconds_count", route=method, protocol="grpc") == 6


@pytest.mark.parametrize(
    "method",
    [
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/inference.GRPCInferenceService/ServerLive",
        "/inference.GRPCInferenceService/ServerReady",
        "/inference.GRPCInferenceService/ModelReady",
    ],
)
def test_a_probe_over_grpc_makes_no_series(metrics: Metrics, method: str) -> None:
    before = set(samples(metrics.exposition().decode()))
    metrics.count_rpc(method, "OK", 0.1)
    assert set(samples(metrics.exposition().decode())) == before


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (ImageUnreadable("?"), 1),
        (Unauthenticated("?"), 1),
        (ModelNotFound("?"), 1),
        (Overloaded("?", retry_after_s=1), 1),
        (NotReady("?"), 1),
        # The batcher counts these.
        (DeadlineExceeded("?"), None),
        (BrainMRIError("?"), None),
    ],
)
def test_what_was_not_run_is_counted_by_its_code(metrics: Metrics, error: BrainMRIError, counted: int | None) -> None:
    metrics.count_error(error)
    assert shown(metrics, "brainmri_refused_total", reason=error.code) == counted
    error.counted = True
    metrics.count_error(error)
    assert shown(metrics, "brainmri_refused_total", reason=error.code) == counted


def test_a_scrape_goes_on_when_another_one_removes_a_dead_workers_files_first(
    metrics: Metrics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(path: str) -> None:
        Path(path).unlink()
        raise FileNotFoundError(path)

    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    (tmp_path / "gauge_livesum_4194999.db").touch()
    monkeypatch.setattr("os.remove", lose)
    assert b"brainmri_process_resident" in metrics.exposition()
    assert list(tmp_path.iterdir()) == []


def test_what_the_batcher_tells(metrics: Metrics) -> None:
    metrics.observe_batch(1)
    metrics.observe_batch(8)
    metrics.count_refusal("queue_full")
    metrics.set_in_flight(9)
    assert shown(metrics, "brainmri_batch_images_sum") == 9
    assert shown(metrics, "brainmri_batch_images_bucket", le="6.0") == 1
    assert shown(metrics, "brainmri_refused_total", reason="queue_full") == 1
    assert shown(metrics, "brainmri_in_flight_images") == 9


def test_a_job_is_counted_by_how_it_ended(metrics: Metrics) -> None:
    def ended() -> list[float | None]:
        states = ("succeeded", "failed", "cancelled")
        return [shown(metrics, "brainmri_scoring_jobs_total", state=state) for state in states]

    assert ended() == [0, 0, 0]
    metrics.count_job("succeeded")
    metrics.count_job("failed")
    metrics.count_job("failed")
    assert ended() == [1, 2, 0]


def test_the_age_of_the_oldest_grows_while_nobody_tells(metrics: Metrics) -> None:
    metrics.set_queue(3, 5.0)
    first = shown(metrics, "brainmri_queue_oldest_seconds")
    time.sleep(0.05)
    second = shown(metrics, "brainmri_queue_oldest_seconds")
    assert first is not None
    assert second is not None
    assert 5.0 <= first <= second - 0.05
    assert shown(metrics, "brainmri_queue_images") == 3
    metrics.set_queue(0, 0)
    assert shown(metrics, "brainmri_queue_oldest_seconds") == 0


def test_an_answered_image_is_noted_in_the_record_that_is_passed(metrics: Metrics) -> None:
    with RequestRecord.opened("http", "r-1") as record:
        metrics.observe_prediction(prediction(), record)
        # An image of a job, or of another request of the same batch.
        metrics.observe_prediction(prediction())
    assert (record.images, record.model) == (1, "brain_mri_xception:0.0.1")


def served(version: str, threads: int) -> Any:
    identity = ModelIdentity("brain_mri_xception", version, "openvino-f32")
    return SimpleNamespace(model=identity, preprocessing_version="pad-1", threads=threads)


def test_only_the_models_that_are_served_are_shown(metrics: Metrics) -> None:
    def versions() -> Mapping[str, float]:
        found = samples(metrics.exposition().decode()).items()
        return {dict(labels)["version"]: count for (name, labels), count in found if name == "brainmri_model_info"}

    metrics.announce_models([served("0.1.0", 2), served("0.2.0", 3)])
    assert versions() == {"0.1.0": 1, "0.2.0": 1}
    metrics.announce_models([served("0.2.0", 3), served("0.3.0", 4)])
    assert versions() == {"0.2.0": 1, "0.3.0": 1}
    threads = {"name": "brain_mri_xception", "runtime": "openvino-f32"}
    assert shown(metrics, "brainmri_runtime_threads", **threads, version="0.3.0") == 4
    assert shown(metrics, "brainmri_runtime_threads", **threads, version="0.1.0") is None


OPENMETRICS = "application/openmetrics-text; version=1.0.0"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def exemplars(text: str, name: str) -> dict[tuple[tuple[str, str], ...], tuple[str, float]]:
    """Parses OpenMetrics with the project's own strict parser; gives trace and value of each bucket that has one."""
    return {
        tuple(sorted(sample.labels.items())): (sample.exemplar.labels["trace_id"], sample.exemplar.value)
        for family in openmetrics_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if family.name == name and sample.exemplar is not None
    }


def test_a_scraper_that_asks_for_openmetrics_gets_the_last_trace_of_each_bucket(metrics: Metrics) -> None:
    for seconds, trace in ((0.02, "1" * 32), (0.021, TRACE), (0.022, None), (31.0, "2" * 32), (0.3, None)):
        metrics.count_request("/predict", "http", 200, seconds, trace)
    metrics.count_rpc("I/Infer", "OK", 0.005, "3" * 32)
    labels = (("protocol", "http"), ("route", "/predict"))
    found = exemplars(metrics.exposition(OPENMETRICS).decode(), "brainmri_request_seconds")
    assert found == {
        (("le", "0.025"), *labels): (TRACE, 0.021),
        (("le", "+Inf"), *labels): ("2" * 32, 31.0),
        (("le", "0.005"), ("protocol", "grpc"), ("route", "I/Infer")): ("3" * 32, 0.005),
    }


def test_the_stages_of_an_image_lead_to_its_request(metrics: Metrics) -> None:
    metrics.observe_prediction(prediction(), RequestRecord("http", "a", trace_id=TRACE))
    metrics.observe_prediction(prediction())
    found = exemplars(metrics.exposition(OPENMETRICS).decode(), "brainmri_stage_seconds")
    assert found[("le", "0.05"), ("stage", "inference")] == (TRACE, 0.03)
    assert {trace for trace, _ in found.values()} == {TRACE}


def test_both_formats_show_the_same_values(metrics: Metrics) -> None:
    metrics.count_request("/predict", "http", 200, 0.02, TRACE)
    metrics.count_refusal("queue_full")
    plain, open_text = metrics.exposition().decode(), metrics.exposition(OPENMETRICS).decode()
    assert open_text.endswith("# EOF\n")
    assert TRACE not in plain
    changing = ("brainmri_process_",)
    both = [
        {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
            if not sample.name.startswith(changing)
        }
        for families in (text_string_to_metric_families(plain), openmetrics_families(open_text))  # type: ignore[no-untyped-call]
    ]
    assert both[0] == both[1]
    assert len(both[0]) > 50


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0"),
        ("text/html", "text/plain; version=0.0.4"),
        ("", "text/plain; version=0.0.4"),
        ("application/openmetrics-text; version=new", "text/plain; version=0.0.4"),
    ],
)
def test_the_content_type_is_that_of_the_format(metrics: Metrics, accept: str, answered: str) -> None:
    assert content_type(accept).startswith(answered)
    assert metrics.exposition(accept).endswith(b"# EOF\n") == ("openmetrics" in answered)


def test_memory_and_cpu_of_this_process(metrics: Metrics) -> None:
    families = {family.name: family for family in text_string_to_metric_families(metrics.exposition().decode())}
    memory = families["brainmri_process_resident_memory_bytes"].samples
    assert [sample.labels for sample in memory] == [
        {"pid": str(os.getpid())},
    ]
    assert 20e6 < memory[0].value < 50e9
    assert families["brainmri_process_cpu_seconds"].samples[0].value > 0


@pytest.mark.parametrize(
    ("name", "content", "limit"),
    [
        ("memory.max", "1073741824\n", 2**30),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "536870912\n", 2**29),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
        ("memory.stat", "anon 1\n", None),
    ],
)
def test_the_memory_limit_is_that_of_the_control_group(
    tmp_path: Path, name: str, content: str, limit: int | None
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    assert memory_limit_bytes(tmp_path) == limit


WORKER = """
import sys
from brainmri.observe.metrics import Metrics
metrics = Metrics()
metrics.count_request("/predict", "http", 200, 0.02)
metrics.observe_batch(int(sys.argv[1]))
metrics.set_in_flight(int(sys.argv[1]))
metrics.set_queue(int(sys.argv[1]), 10 * int(sys.argv[1]))
metrics.set_ready(sys.argv[1] != "4")
print("ready", flush=True)
for line in sys.stdin:
    sys.stdout.write(metrics.exposition().decode() + "end\\n")
    sys.stdout.flush()
"""


class Worker:
    """A process that writes to the shared files, as BentoML's workers do."""

    def __init__(self, folder: Path, number: int) -> None:
        environment = {"PYTHONPATH": str(ROOT), "PROMETHEUS_MULTIPROC_DIR": str(folder)}
        command = [sys.executable, "-c", WORKER, str(number)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def show(self) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return "".join(iter(self.process.stdout.readline, "end\n"))

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_several_workers_show_one_sum_and_a_dead_one_leaves_its_counts_but_not_its_gauges(tmp_path: Path) -> None:
    workers = [Worker(tmp_path, number) for number in (1, 2, 4)]
    try:
        texts = [worker.show() for worker in workers]
        for text in texts:
            assert value(text, "brainmri_requests_total", route="/predict", protocol="http", status="2xx") == 3
            assert value(text, "brainmri_batch_images_sum") == 7
            assert value(text, "brainmri_batch_images_bucket", le="2.0") == 2
            assert value(text, "brainmri_in_flight_images") == 7
            assert value(text, "brainmri_queue_images") == 7
            assert value(text, "brainmri_ready") == 0
            oldest = value(text, "brainmri_queue_oldest_seconds")
            assert oldest is not None
            assert 40 <= oldest < 100
            assert pids(text) == {str(worker.process.pid) for worker in workers}
        workers[2].kill()
        text = workers[0].show()
        assert value(text, "brainmri_requests_total", route="/predict", protocol="http", status="2xx") == 3
        assert value(text, "brainmri_batch_images_sum") == 7
        assert value(text, "brainmri_in_flight_images") == 3
        assert value(text, "brainmri_queue_images") == 3
        assert value(text, "brainmri_ready") == 1
        assert pids(text) == {str(worker.process.pid) for worker in workers[:2]}
        assert text.index("brainmri_batch_images_bucket") < text.index("brainmri_batch_images_sum")
    finally:
        for worker in workers:
            worker.kill()


def pids(text: str) -> set[str]:
    found = samples(text)
    return {dict(labels)["pid"] for name, labels in found if name == "brainmri_process_resident_memory_bytes"}


def test_every_metric_is_shown_and_listed_once(metrics: Metrics) -> None:
    families = {family.name for family in text_string_to_metric_families(metrics.exposition().decode())}
    assert families == {spec.name for spec in SPECS}
    assert len(SPECS) == len(families)


def test_the_list_in_the_documentation_is_that_of_the_code() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == document(), (
        "Write it again: python -m docs.scripts.metrics > docs/metrics.md"
    )
