"""A real server: `brainmri serve` in a process of its own, with its own home and port."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import bentoml
import httpx
import numpy as np
import pytest

from brainmri.model.contract import NOTICE
from tests.e2e.servers import ROOT, START_S, TRAINING_ONLY, environment, free_port, run_to_the_end, serving
from tests.tiny import contract_parts, write_tiny_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[httpx.Client]:
    with serving(folder) as running:
        yield running.client


def test_each_colour_gets_its_class(server: httpx.Client, png: Callable[..., bytes]) -> None:
    colours = {"glioma": (255, 0, 0), "meningioma": (0, 255, 0), "notumor": (0, 0, 0), "pituitary": (0, 0, 255)}
    for label, colour in colours.items():
        response = server.post("/predict", files={"image": png(colour)})
        assert (response.status_code, response.json()["label"]) == (200, label)


def test_the_whole_answer(server: httpx.Client, png: Callable[..., bytes]) -> None:
    response = server.post("/predict", files={"image": png()}, headers={"X-Request-Id": "e2e-1"})
    body = response.json()
    assert response.headers["x-request-id"] == "e2e-1"
    timings = body.pop("timings_ms")
    assert 0 < timings["total"] < 10_000
    assert body == {
        "label": "glioma",
        "confidence": pytest.approx(0.976005, abs=1e-5),
        "probabilities": {
            "glioma": pytest.approx(0.976005, abs=1e-5),
            "meningioma": pytest.approx(0.006576, abs=1e-5),
            "notumor": pytest.approx(0.010842, abs=1e-5),
            "pituitary": pytest.approx(0.006576, abs=1e-5),
        },
        "verdict": "glioma",
        "in_distribution": None,
        "novelty": None,
        "image": {
            "format": "PNG",
            "mode": "RGB",
            "bits": 8,
            "frames": 1,
            "frame": 0,
            "scaling": {"rule": "as_stored", "low": 0.0, "high": 255.0},
        },
        "model": {"name": "brain_mri_xception", "version": "0.0.1", "runtime": "openvino-f32"},
        "request_id": "e2e-1",
        "notice": NOTICE,
    }


def test_a_raw_body(server: httpx.Client, png: Callable[..., bytes]) -> None:
    response = server.post("/predict", content=png((0, 0, 255)), headers={"content-type": "image/png"})
    assert (response.status_code, response.json()["label"]) == (200, "pituitary")


@pytest.mark.parametrize(
    ("upload", "status", "code"),
    [
        ({"files": {"image": b""}}, 400, "image_empty"),
        ({"files": {"image": b"\x89PNG\r\n\x1a\n truncated"}}, 400, "image_unreadable"),
        ({"files": {"image": ("a.txt", b"some text")}}, 400, "image_unreadable"),
        ({"files": {"image": b"x" * 300_001}}, 413, "image_too_large"),
        ({"files": {"image": b"x" * 3_000_000}}, 413, "image_too_large"),
        ({"files": {"picture": b"x"}}, 400, "malformed_request"),
        ({"files": [("image", b"x"), ("image", b"x")]}, 400, "malformed_request"),
        ({"json": {"image": "http://127.0.0.1/"}}, 400, "malformed_request"),
    ],
)
def test_a_refusal_has_the_one_shape(server: httpx.Client, upload: dict[str, object], status: int, code: str) -> None:
    response = server.post("/predict", headers={"X-Request-Id": "e2e-2"}, **upload)  # type: ignore[arg-type]
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["request_id"]) == (status, code, "e2e-2")
    assert error["message"].endswith(".")


def test_wrong_paths_and_methods_have_the_one_shape(server: httpx.Client) -> None:
    unknown, wrong = server.get("/v1/nothing"), server.get("/predict")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")


def test_probes(server: httpx.Client) -> None:
    assert server.get("/livez").status_code == 200
    assert server.get("/readyz").status_code == 200


def test_metrics_count_what_was_answered(server: httpx.Client, png: Callable[..., bytes]) -> None:
    def value(line: str) -> float:
        text = server.get("/metrics").text
        found = [float(row.rsplit(" ", 1)[1]) for row in text.splitlines() if row.startswith(line + " ")]
        return found[0] if found else 0.0

    answered = 'brainmri_requests_total{protocol="http",route="/predict",status="2xx"}'
    glioma = 'brainmri_predictions_total{label="glioma"}'
    stages = 'brainmri_stage_seconds_count{stage="inference"}'
    before = [value(line) for line in (answered, glioma, stages)]
    server.post("/predict", files={"image": png((255, 0, 0))})
    assert [value(line) for line in (answered, glioma, stages)] == [count + 1 for count in before]
    assert (
        value(
            'brainmri_model_info{name="brain_mri_xception",preprocessing="pad-bilinear-299-v1",'
            'runtime="openvino-f32",version="0.0.1"}'
        )
        == 1
    )


def test_the_contract_the_document_and_the_page(server: httpx.Client) -> None:
    assert server.get("/model").json()["labels"] == ["glioma", "meningioma", "notumor", "pituitary"]
    document = server.get("/docs.json").json()
    assert {"/livez", "/metrics", "/model", "/predict", "/readyz"} < document["paths"].keys()
    assert "swagger-initializer.js" in server.get("/docs").text
    initializer = server.get("/static_content/swagger-initializer.js")
    assert 'url: "./docs.json"' in initializer.text


def test_serving_does_not_try_to_import_tensorflow(
    server: httpx.Client, folder: Path, png: Callable[..., bytes]
) -> None:
    assert server.post("/predict", files={"image": png()}).status_code == 200
    tried = [folder / f"{package}.tried" for package in TRAINING_ONLY]
    assert not any(path.exists() for path in tried)
    # The traps work.
    for package, path in zip(TRAINING_ONLY, tried, strict=True):
        command = [sys.executable, "-c", f"import {package}"]
        done = subprocess.run(command, env=environment(folder), capture_output=True, text=True, check=False)
        assert done.stderr.endswith("ImportError: blocked\n")
        assert path.exists()


def begin_upload(url: httpx.URL, length: int) -> HTTPConnection:
    """Sends the headers of a prediction and returns when the server asks for the body, so it has accepted it."""
    connection = HTTPConnection(url.host, url.port or 80, timeout=60)
    connection.putrequest("POST", "/predict")
    for name, value in {"Content-Type": "image/png", "Content-Length": length, "Expect": "100-continue"}.items():
        connection.putheader(name, str(value))
    connection.endheaders()
    assert connection.sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    return connection


def wait_until_refused(url: httpx.URL) -> httpx.Response:
    """Returns the first answer that is 503, each time on a connection of its own."""
    for _ in range(50):
        answer = httpx.get(url, timeout=5, trust_env=False)
        if answer.status_code == 503:
            return answer
        time.sleep(0.1)
    pytest.fail("The server still takes new requests.")


def test_an_idle_connection_outlives_the_five_seconds_of_uvicorn(server: httpx.Client) -> None:
    with closing(HTTPConnection(server.base_url.host, server.base_url.port, timeout=START_S)) as connection:
        for pause_s in (6, 0):
            connection.request("GET", "/livez")
            assert connection.getresponse().read()
            time.sleep(pause_s)


def test_an_upload_that_stalls_is_answered_408_in_the_one_shape(server: httpx.Client) -> None:
    with closing(begin_upload(server.base_url, 100)) as connection:
        response = connection.getresponse()
        error = json.loads(response.read())["error"]
    assert (response.status, error["code"], error["limit"]) == (408, "upload_stalled", "5 s")


def test_requests_in_flight_at_sigterm_are_answered(tmp_path: Path, png: Callable[..., bytes]) -> None:
    image = png((0, 0, 255))
    with serving(tmp_path) as running:
        client, process = running.client, running.process
        connections = [begin_upload(client.base_url, len(image)) for _ in range(6)]
        process.send_signal(signal.SIGTERM)
        refusal = wait_until_refused(client.base_url.join("/model"))
        assert (refusal.json()["error"]["code"], refusal.headers["retry-after"]) == ("not_ready", "5")
        assert refusal.headers["connection"] == "close"
        # Far beyond the delay and the second for idle connections: others are still told.
        time.sleep(2)
        assert client.get("/livez").headers["connection"] == "close"
        assert process.poll() is None
        for connection in connections:
            connection.send(image)
        for connection in connections:
            with closing(connection):
                response = connection.getresponse()
                assert (response.status, json.loads(response.read())["label"]) == (200, "pituitary")
                assert response.headers["connection"] == "close"
        process.wait(timeout=30)
    assert process.returncode == 0


def test_a_bundle_of_another_preprocessing_keeps_the_server_from_starting(tmp_path: Path) -> None:
    spec = {**contract_parts()["input"], "preprocessing_version": "pad-lanczos-299-v9"}
    write_tiny_bundle(tmp_path / "models" / "brain_mri_xception", tmp_path, input=spec)
    done = run_to_the_end(["brainmri", "serve"], environment(tmp_path))
    assert done.returncode != 0
    assert "was trained with the preprocessing 'pad-lanczos-299-v9'" in done.stderr


def test_without_a_bundle_the_server_does_not_start(tmp_path: Path) -> None:
    done = run_to_the_end(["brainmri", "serve"], environment(tmp_path))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("brainmri: The store has no model 'brain_mri_xception:latest'.")
    assert "Traceback" not in done.stderr


def test_with_an_altered_bundle_the_server_does_not_start(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "models" / "brain_mri_xception", tmp_path)
    (bundle.folder / "openvino-f32" / "model.bin").write_bytes(b"altered")
    done = run_to_the_end(["brainmri", "serve"], environment(tmp_path))
    assert done.returncode == 2
    assert "model.bin" in done.stderr
    assert "was altered" in done.stderr


def test_bentoml_serve_itself_refuses_a_stored_bundle_that_was_altered(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "models" / "brain_mri_xception", tmp_path)
    environ = environment(tmp_path)
    command = [sys.executable, "-m", "brainmri", "models", "import", str(bundle.folder)]
    subprocess.run(command, cwd=ROOT, env=environ, check=True, timeout=START_S, capture_output=True)
    stored = tmp_path / "home" / "models" / "brain_mri_xception" / "0.0.1"
    (stored / "openvino-f32" / "model.bin").write_bytes(b"altered")
    serve = ["bentoml", "serve", "service:BrainMRI", "--host", "127.0.0.1", "--port", str(free_port())]
    done = run_to_the_end(serve, environ)
    assert done.returncode != 0
    assert "was altered" in done.stderr


def test_bentomls_own_client_sends_tensors(server: httpx.Client) -> None:
    images = np.zeros((2, 299, 299, 3), np.uint8)
    images[0, ..., 0] = 255
    with bentoml.SyncHTTPClient(str(server.base_url)) as client:
        red, black = client.probabilities(images=images)
        # It leaves its folder to the garbage collector, which warns.
        client._temp_dir.cleanup()
    np.testing.assert_allclose(red, [0.976005, 0.006576, 0.010842, 0.006576], atol=1e-5)
    np.testing.assert_allclose(black, [0.215113, 0.215113, 0.354661, 0.215113], atol=1e-5)


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"[" * 3_000_001, {}, 413, "request_too_large"),
        (iter([b"{}"]), {}, 400, "malformed_request"),
    ],
    ids=["too large", "of unknown length"],
)
def test_a_body_of_bentomls_route_is_limited(
    server: httpx.Client, body: Any, headers: dict[str, str], status: int, code: str
) -> None:
    response = server.post("/probabilities", content=body, headers={"content-type": "application/json", **headers})
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("pixel", [-1, 256, None, "red", [1], {}])
def test_a_pixel_that_is_no_byte_is_refused(server: httpx.Client, pixel: Any) -> None:
    image = np.zeros((299, 299, 3), np.uint8).tolist()
    image[5][7][1] = pixel
    response = server.post("/probabilities", json={"images": [image]})
    assert response.status_code == 400


def test_a_tensor_of_another_shape_is_refused_and_not_quoted_in_the_log(server: httpx.Client, folder: Path) -> None:
    response = server.post("/probabilities", json={"images": [[213, 214, 215]]})
    assert response.status_code == 400
    assert not re.search(r"213,\s*214", (folder / "log").read_text())
