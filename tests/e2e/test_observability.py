"""One real server with two workers, API keys, a JSON log and a collector: what it tells equals what was sent."""

import json
import os
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.grpc import service_pb2, service_pb2_grpc

from brainmri.web.auth import edit_keys, new_key
from tests.collector import Collector, collecting
from tests.e2e.servers import Server, serving

FILE_NAME = "patient-doe-1970.png"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
RPC_TRACE = "11111111111111111111111111111111"
MODEL_INFER = "inference.GRPCInferenceService/ModelInfer"
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)

REQUESTS = {
    ("/predict", "http", "2xx"): 8,
    ("/predict", "http", "4xx"): 6,
    ("/predict_batch", "http", "2xx"): 2,
    ("/model", "http", "2xx"): 1,
    ("/v1/models/{name}:predict", "http", "2xx"): 1,
    ("/v2/models/{name}/infer", "open_inference_rest", "2xx"): 2,
    ("/v2/models/{name}/infer", "open_inference_rest", "4xx"): 1,
    (MODEL_INFER, "grpc", "2xx"): 3,
    (MODEL_INFER, "grpc", "4xx"): 2,
}
RPCS = {(MODEL_INFER, "OK"): 3, (MODEL_INFER, "INVALID_ARGUMENT"): 1, (MODEL_INFER, "UNAUTHENTICATED"): 1}
REFUSED = {"image_unreadable": 5, "unauthenticated": 4, "malformed_request": 1, "model_not_found": 1}
PREDICTIONS = {"glioma": 6 + 2 + 2, "meningioma": 2, "pituitary": 2 + 1, "notumor": 6}
IMAGES = sum(PREDICTIONS.values())
UNKNOWN_PATHS = 3


@dataclass(frozen=True)
class Running:
    """The server and what is around it."""

    server: Server
    collector: Collector
    keys_file: Path
    key: str

    def send(self, method: str, path: str, *, key: str | None = "", **request: Any) -> httpx.Response:
        """Sends one request on a connection of its own, so that each worker gets some; with the key unless told."""
        headers = {**request.pop("headers", {})}
        if key is not None:
            headers["Authorization"] = f"Bearer {key or self.key}"
        url = self.server.client.base_url.join(path)
        return httpx.request(method, url, headers=headers, trust_env=False, timeout=30, **request)

    def metrics(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """Returns the samples by name, as Prometheus's parser reads them."""
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in text_string_to_metric_families(self.send("GET", "/metrics", key=None).text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found

    def log(self) -> list[dict[str, Any]]:
        """Returns every line that the server has written, parsed; each must be a JSON object."""
        return [json.loads(line) for line in self.server.log.splitlines()]

    def access(self) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["logger"] == "brainmri.access"]


def image_request(images: int) -> service_pb2.ModelInferRequest:
    tensor = service_pb2.ModelInferRequest.InferInputTensor(name="image", datatype="UINT8", shape=[images, 299, 299, 3])
    pixels = np.zeros((images, 299, 299, 3), np.uint8).tobytes()
    return service_pb2.ModelInferRequest(model_name="brain_mri", inputs=[tensor], raw_input_contents=[pixels])


def call_grpc(running: Running) -> None:
    key = ("authorization", f"Bearer {running.key}")
    with grpc.insecure_channel(running.server.grpc_address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for images in (1, 2, 3):
            trace = ("traceparent", f"00-{RPC_TRACE}-{PARENT}-01")
            answer = stub.ModelInfer(image_request(images), metadata=(key, trace), timeout=30)
            assert list(answer.outputs[0].shape) == [images, 4]
        assert stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=30).live
        assert stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=30).ready
        bad = image_request(1)
        bad.inputs[0].shape[0] = 2
        for request, metadata, code in ((bad, (key,), "INVALID_ARGUMENT"), (image_request(1), (), "UNAUTHENTICATED")):
            with pytest.raises(grpc.RpcError) as refused:
                stub.ModelInfer(request, metadata=metadata, timeout=30)
            assert refused.value.code().name == code


def call_http(running: Running, png: Callable[..., bytes]) -> None:
    send = running.send
    red, green, blue = png(RED), png(GREEN), png(BLUE)
    for number in range(6):
        trace = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "traced"} if number == 0 else {}
        answer = send("POST", "/predict", files={"image": (FILE_NAME, red)}, headers=trace)
        assert answer.json()["label"] == "glioma"
    for _ in range(2):
        assert send("POST", "/predict", content=green, headers={"content-type": "image/png"}).status_code == 200
    files = [("images", (FILE_NAME, data)) for data in (red, blue, b"some text")]
    for _ in range(2):
        assert len(send("POST", "/predict_batch", files=files).json()["results"]) == 3
    for _ in range(3):
        assert send("POST", "/predict", files={"image": (FILE_NAME, b"some text")}).status_code == 400
    for key in (None, None, "brainmri_" + "x" * 43):
        assert send("POST", "/predict", files={"image": red}, key=key).status_code == 401
    assert send("GET", "/model").status_code == 200
    v1 = send("POST", "/v1/models/brain_mri:predict", json={"instances": [{"b64": b64encode(blue).decode()}]})
    assert v1.status_code == 200
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1, 1], "data": [b64encode(red).decode()]}
    for _ in range(2):
        v2 = send("POST", "/v2/models/brain_mri_image/infer", json={"inputs": [tensor]})
        assert v2.status_code == 200, v2.text
    assert send("POST", "/v2/models/other/infer", json={"inputs": [tensor]}).status_code == 404
    for path in ("/nothing", "/wp-login.php", f"/{FILE_NAME}"):
        assert send("GET", path).status_code == 404
    for path in ("/livez", "/readyz", "/healthz", "/v2/health/ready", "/v2/models/brain_mri/ready", "/metrics"):
        assert send("GET", path, key=None).status_code == 200


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, png: Callable[..., bytes]) -> Iterator[Running]:
    """The server, after the whole conversation."""
    folder = tmp_path_factory.mktemp("observed")
    with edit_keys(folder / "keys") as known:
        key, known["ward-3"] = new_key("ward-3")
    with pytest.MonkeyPatch.context() as patch, collecting() as collector:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        settings: dict[str, str | int] = {"workers": 2, "log_format": "json", "api_keys_file": str(folder / "keys")}
        with serving(folder, **settings) as server:
            running = Running(server, collector, folder / "keys", key)
            server.until(lambda: len(workers(running)) == 2, "both workers are loaded")
            call_http(running, png)
            call_grpc(running)
            yield running


def workers(running: Running) -> set[str]:
    """Returns the processes that serve, once each of them has announced its model."""
    found = running.metrics()
    threads = sum(value for _, value in found.get("brainmri_runtime_threads", []))
    pids = {labels["pid"] for labels, _ in found["brainmri_process_resident_memory_bytes"]}
    return pids if threads == len(pids) else set()


def by(samples: list[tuple[dict[str, str], float]], *names: str) -> dict[Any, float]:
    """Returns the values by one label or by several."""
    keyed = {tuple(labels[name] for name in names): value for labels, value in samples}
    return {key[0] if len(names) == 1 else key: value for key, value in keyed.items()}


def test_the_counters_equal_what_was_sent(running: Running) -> None:
    found = running.metrics()
    assert by(found["brainmri_requests_total"], "route", "protocol", "status") == REQUESTS
    assert by(found["brainmri_rpcs_total"], "method", "code") == RPCS
    assert by(found["brainmri_refused_total"], "reason") == REFUSED
    assert by(found["brainmri_predictions_total"], "label") == PREDICTIONS
    assert by(found["brainmri_verdicts_total"], "verdict") == PREDICTIONS


def test_the_histograms_hold_each_request_and_each_image_once(running: Running) -> None:
    found = running.metrics()
    requests = Counter[tuple[str, str]]()
    for (route, protocol, _), count in REQUESTS.items():
        requests[route, protocol] += count
    assert by(found["brainmri_request_seconds_count"], "route", "protocol") == requests
    stages = dict.fromkeys(("decode", "queue", "inference", "total"), IMAGES)
    assert by(found["brainmri_stage_seconds_count"], "stage") == stages
    assert found["brainmri_confidence_ratio_count"] == [({}, IMAGES)]
    assert found["brainmri_batch_images_sum"] == [({}, IMAGES)]
    times = by(found["brainmri_stage_seconds_sum"], "stage")
    assert times["decode"] + times["queue"] + times["inference"] == pytest.approx(times["total"])


def test_the_gauges_are_of_both_workers(running: Running) -> None:
    def idle() -> bool:
        found = running.metrics()
        names = ("brainmri_in_flight_images", "brainmri_queue_images", "brainmri_queue_oldest_seconds")
        return [found[name] for name in names] == [[({}, 0)]] * 3

    running.server.until(idle, "nothing is in flight")
    found = running.metrics()
    [(labels, value)] = found["brainmri_model_info"]
    assert (labels["name"], labels["version"], labels["runtime"], value) == (
        "brain_mri_xception",
        "0.0.1",
        "openvino-f32",
        1,
    )
    assert [threads for _, threads in found["brainmri_runtime_threads"]] == [2]
    memory = by(found["brainmri_process_resident_memory_bytes"], "pid")
    assert set(memory) == set(by(found["brainmri_process_cpu_seconds_total"], "pid"))
    for pid, resident in memory.items():
        assert 50e6 < resident < 5e9
        assert f"PPid:\t{running.server.process.pid}\n" in Path(f"/proc/{pid}/status").read_text()


def test_only_our_own_metrics_are_shown(running: Running) -> None:
    assert [name for name in running.metrics() if not name.startswith("brainmri_")] == []


def test_every_line_is_json_and_each_request_has_one(running: Running) -> None:
    for line in running.log():
        assert {"time", "level", "logger", "message"} <= line.keys()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    sent = Counter[tuple[str, str]]()
    for (route, protocol, _), count in REQUESTS.items():
        sent[route, protocol] += count
    sent["unmatched", "http"] = UNKNOWN_PATHS
    # Later tests send more than the conversation.
    first = running.access()[: sum(sent.values())]
    assert Counter((line["route"], line["protocol"]) for line in first) == sent


def test_a_line_tells_what_an_operator_needs(running: Running) -> None:
    [line] = [line for line in running.access() if line["request_id"] == "traced"]
    assert line["trace_id"] == TRACE
    assert (line["status"], line["model"], line["images"], line["key"]) == (
        200,
        "brain_mri_xception:0.0.1",
        1,
        "ward-3",
    )
    assert line["received_bytes"] > 100
    assert line["sent_bytes"] > 100
    assert set(line["stages_ms"]) == {"decode", "queue", "inference", "total"}
    assert line["duration_ms"] >= line["stages_ms"]["total"]
    refused = [line["error"] for line in running.access() if line["status"] == 401]
    assert refused[:3] == ["unauthenticated"] * 3


def test_the_log_holds_nothing_about_images_and_no_key(running: Running, png: Callable[..., bytes]) -> None:
    text = running.server.log
    assert "doe" not in text
    assert running.key not in text
    assert not re.search("glioma|meningioma|notumor|pituitary", text)
    # The probabilities of a pure colour, see tests/tiny.py.
    assert not re.search(r"0\.97600|0\.00657|0\.01084", text)
    assert b64encode(png(RED)).decode()[:40] not in text


def test_a_request_is_one_trace_from_the_caller_to_the_stages(running: Running) -> None:
    wanted = {"POST /predict", "decode", "queue", "inference"}
    running.server.until(lambda: set(running.collector.of_trace(TRACE)) >= wanted, "the trace arrives")
    spans = running.collector.of_trace(TRACE)
    request = spans.pop("POST /predict")
    # Nothing of BentoML's own instrumentation.
    assert set(spans) == {"decode", "queue", "inference"}
    assert request.parent_id == PARENT
    assert {span.parent_id for span in spans.values()} == {request.span_id}
    assert request.begin_ns <= spans["decode"].begin_ns <= spans["inference"].end_ns <= request.end_ns
    assert request.attributes["http.route"] == "/predict"
    assert request.attributes["brainmri.request_id"] == "traced"


def test_a_call_over_grpc_continues_the_callers_trace(running: Running) -> None:
    def calls() -> list[Any]:
        return [span for span in list(running.collector.spans) if span.trace_id == RPC_TRACE]

    running.server.until(lambda: len(calls()) == 3 * 4, "the traces arrive")
    requests = [span for span in calls() if span.name == MODEL_INFER]
    assert [span.parent_id for span in requests] == [PARENT] * 3
    assert sorted(span.attributes["brainmri.images"] for span in requests) == [1, 2, 3]


def test_probes_and_unknown_paths_send_no_spans(running: Running) -> None:
    names = {span.name for span in list(running.collector.spans)}
    assert not [name for name in names if "livez" in name or "ready" in name or "metrics" in name]
    assert len([span for span in list(running.collector.spans) if "unmatched" in span.name]) <= UNKNOWN_PATHS


def test_a_key_is_refused_and_accepted_as_the_file_changes_under_the_running_server(running: Running) -> None:
    def statuses() -> set[int]:
        return {running.send("GET", "/model").status_code for _ in range(8)}

    with edit_keys(running.keys_file) as known:
        kept = known.pop("ward-3")
    running.server.until(lambda: statuses() == {401}, "every worker refuses the key")
    with edit_keys(running.keys_file) as known:
        known["ward-3"] = kept
    running.server.until(lambda: statuses() == {200}, "every worker knows the key again")


def test_a_worker_that_is_killed_leaves_its_counts_and_takes_its_gauges_with_it(running: Running) -> None:
    before = by(running.metrics()["brainmri_predictions_total"], "label")
    old = workers(running)
    victim = min(old)
    os.kill(int(victim), 9)
    running.server.until(lambda: victim not in workers(running) and len(workers(running)) == 2, "another takes over")
    found = running.metrics()
    assert by(found["brainmri_predictions_total"], "label") == before
    assert [threads for _, threads in found["brainmri_runtime_threads"]] == [2]
    assert workers(running) > old - {victim}
