import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from brainmri.errors import ImageUnreadable, InvalidSettings
from brainmri.model.predictor import ModelIdentity, Prediction
from brainmri.observe import tracing
from brainmri.observe.request_record import RequestRecord
from brainmri.observe.tracing import Tracing, caller_trace_id, configured
from tests.collector import Collector, collecting

ROOT = Path(__file__).parents[2]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVER = 2  # SPAN_KIND_SERVER of the protocol

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as collector:
        monkeypatch.setenv(ENDPOINT, collector.url)
        yield collector


def traced(monkeypatch: pytest.MonkeyPatch) -> Tracing:
    made = Tracing()
    monkeypatch.setattr("brainmri.observe.request_record.process_tracing", lambda: made)
    return made


def answered(decode: float = 2.0, queue: float = 3.0, inference: float = 25.0) -> Prediction:
    stages = {"decode": decode, "queue": queue, "inference": inference}
    return Prediction(
        label="glioma",
        confidence=0.9,
        probabilities={"glioma": 0.9},
        verdict="glioma",
        novelty=None,
        in_distribution=None,
        model=ModelIdentity("brain_mri_xception", "0.0.1", "openvino-f32"),
        timings_ms={**stages, "total": sum(stages.values())},
    )


def test_a_request_and_its_stages_are_spans_below_the_callers(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = traced(monkeypatch)
    before = time.time_ns()
    with RequestRecord.opened("http", "r-1", f"00-{TRACE}-{PARENT}-01", method="POST") as record:
        assert record.trace_id == TRACE
        record.route = "/predict"
        record.note(answered())
        noted = time.time_ns()
        record.close(200, failed=False)
    made.close()
    spans = collector.of_trace(TRACE)
    assert sorted(spans) == ["POST /predict", "decode", "inference", "queue"]
    request = spans["POST /predict"]
    assert (request.parent_id, request.kind, request.failed) == (PARENT, SERVER, False)
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "brainmri.request_id": "r-1",
        "brainmri.model": "brain_mri_xception:0.0.1",
        "brainmri.images": 1,
    }
    stages = [spans[name] for name in ("decode", "queue", "inference")]
    assert {stage.parent_id for stage in stages} == {request.span_id}
    assert [(stage.end_ns - stage.begin_ns) / 1e6 for stage in stages] == [
        pytest.approx(2),
        pytest.approx(3),
        pytest.approx(25),
    ]
    assert stages[0].end_ns == stages[1].begin_ns
    assert stages[1].end_ns == stages[2].begin_ns
    assert before < stages[2].end_ns <= noted
    assert collector.resource["service.name"] == "brainmri"


def test_of_several_images_the_slowest_is_shown(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    made = traced(monkeypatch)
    with RequestRecord.opened("grpc", "r-1") as record:
        for queue in (1.0, 40.0, 2.0):
            record.note(answered(queue=queue))
        record.route = "S/ModelInfer"
        record.close("OK", failed=False)
    made.close()
    spans = {span.name: span for span in collector.spans}
    assert len(collector.spans) == 4
    assert (spans["queue"].end_ns - spans["queue"].begin_ns) / 1e6 == pytest.approx(40)
    assert spans["S/ModelInfer"].attributes["brainmri.images"] == 3
    assert spans["S/ModelInfer"].attributes["rpc.response.status_code"] == "OK"
    assert spans["S/ModelInfer"].parent_id == ""
    assert spans["S/ModelInfer"].trace_id == record.trace_id


def test_a_refused_request_has_its_error_and_no_stages(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    made = traced(monkeypatch)
    for status in (400, 500):
        with RequestRecord.opened("http", "r-1", method="POST") as record:
            record.route, record.error = "/predict", ImageUnreadable("?")
            record.close(status, failed=status == 500)
    made.close()
    assert [(span.name, span.failed, span.attributes["error.type"]) for span in collector.spans] == [
        ("POST /predict", False, "image_unreadable"),
        ("POST /predict", True, "image_unreadable"),
    ]


def test_a_request_that_is_never_closed_is_not_sent(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    made = traced(monkeypatch)
    with RequestRecord.opened("http", "probe"):
        pass
    made.close()
    assert collector.spans == []


def test_what_the_caller_does_not_sample_is_not_sent_but_keeps_its_trace_id(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = traced(monkeypatch)
    with RequestRecord.opened("http", "r-1", f"00-{TRACE}-{PARENT}-00", method="POST") as record:
        record.note(answered())
        record.close(200, failed=False)
    made.close()
    assert collector.spans == []
    assert record.trace_id == TRACE


def test_the_standard_environment_counts(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mri-east")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=ward")
    made = traced(monkeypatch)
    with RequestRecord.opened("http", "r-1", method="GET") as record:
        record.close(200, failed=False)
    made.close()
    assert collector.resource["service.name"] == "mri-east"
    assert collector.resource["deployment.environment.name"] == "test"
    assert collector.headers["x-tenant"] == "ward"


def test_a_collector_that_hangs_does_not_keep_the_server_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()
    monkeypatch.setattr(tracing, "CLOSE_S", 0.2)
    with collecting(held) as collector:
        monkeypatch.setenv(ENDPOINT, collector.url)
        made = traced(monkeypatch)
        with RequestRecord.opened("http", "r-1", method="GET") as record:
            record.close(200, failed=False)
        made.close()
        collector.arrived.wait(30)
        # Nothing has been answered, and `close` is back.
        assert collector.spans == []
        held.set()


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({ENDPOINT: ""}, False),
        ({ENDPOINT: "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({ENDPOINT: "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({ENDPOINT: "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({ENDPOINT: "http://127.0.0.1:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
    ],
)
def test_when_traces_are_wanted(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], wanted: bool) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert configured() is wanted


def test_another_protocol_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(InvalidSettings, match=r"not 'grpc'.*4318"):
        configured()


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (f"00-{TRACE}-{PARENT}-01", TRACE),
        (f"01-{TRACE}-{PARENT}-01-more", TRACE),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE[:-1]}-{PARENT}-01", None),
        ("", None),
    ],
)
def test_the_trace_id_of_a_header(header: str, found: str | None) -> None:
    assert caller_trace_id(header) == found


def test_without_a_collector_nothing_of_opentelemetry_is_imported() -> None:
    program = (
        "import sys\n"
        "from brainmri.observe.request_record import RequestRecord\n"
        "with RequestRecord.opened('http', 'r-1', method='GET') as record:\n"
        "    record.close(200, failed=False)\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    environment = {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
