"""A real server: `brainmri serve` in a process of its own, with its own home and port."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from brainmri.contract import NOTICE
from tests.tiny import contract_parts, write_tiny_bundle

ROOT = Path(__file__).resolve().parents[2]
TRAINING_ONLY = ("tensorflow", "keras")
START_S = 240  # measured: 12 beside one idle-priority training run, 33 beside a busy machine


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(folder: Path, port: int) -> dict[str, str]:
    (folder / "home").mkdir(exist_ok=True)
    # Serving must neither need TensorFlow nor try to import it, also where it is installed.
    blocked = folder / "blocked"
    blocked.mkdir(exist_ok=True)
    for package in TRAINING_ONLY:
        trace = folder / f"{package}.tried"
        (blocked / f"{package}.py").write_text(f"open({str(trace)!r}, 'w').close()\nraise ImportError('blocked')\n")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(blocked), str(ROOT)]),
        "BENTOML_HOME": str(folder / "home"),
        "BRAINMRI_BUNDLES": str(folder / "models"),
        "BRAINMRI_HTTP_PORT": str(port),
        "BRAINMRI_MAX_IMAGE_BYTES": "300000",
        "BRAINMRI_REQUEST_TIMEOUT_S": "10",
        "BRAINMRI_THREADS": "1",
    }


@contextmanager
def serve(folder: Path) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    write_tiny_bundle(folder / "models" / "brain_mri_xception", folder)
    port, log = free_port(), folder / "log"
    # Nothing in the working directory may run.
    for name in ("service.py", "bentoml.py"):
        (folder / name).write_text("raise SystemExit('foreign code')\n")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "brainmri", "serve"],
            cwd=folder,
            env=environment(folder, port),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
        try:
            wait_until_ready(client, process, log)
            yield client, process
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(timeout=30)
    text = log.read_text()
    assert status == 0, text
    assert "Traceback" not in text, text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[httpx.Client]:
    with serve(folder) as (client, _):
        yield client


def wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    seen = set()
    for _ in range(START_S * 10):
        try:
            seen.add(status := client.get("/readyz").status_code)
        except httpx.TransportError:
            status = 0
        if status == 200:
            assert seen <= {200, 503}
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    pytest.fail(f"The server did not become ready.\n{log.read_text()}")


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

    answered = 'brainmri_requests_total{route="/predict",status="2xx"}'
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
    assert sorted(document["paths"]) == ["/livez", "/metrics", "/model", "/predict", "/readyz"]
    assert "swagger-initializer.js" in server.get("/").text
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
        done = subprocess.run(command, env=environment(folder, 1), capture_output=True, text=True, check=False)
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


def wait_until_refused(url: httpx.URL) -> None:
    for _ in range(50):
        try:
            httpx.get(url, timeout=1, trust_env=False)
        except httpx.TransportError:
            return
        time.sleep(0.1)
    pytest.fail("The server still answers new connections.")


def test_an_upload_that_stalls_is_answered_504_in_the_one_shape(server: httpx.Client) -> None:
    with closing(begin_upload(server.base_url, 100)) as connection:
        response = connection.getresponse()
        error = json.loads(response.read())["error"]
    assert (response.status, error["code"], error["limit"]) == (504, "deadline_exceeded", "10 s")


def test_requests_in_flight_at_sigterm_are_answered(tmp_path: Path, png: Callable[..., bytes]) -> None:
    image = png((0, 0, 255))
    with serve(tmp_path) as (client, process):
        connections = [begin_upload(client.base_url, len(image)) for _ in range(6)]
        process.send_signal(signal.SIGTERM)
        wait_until_refused(client.base_url.join("/livez"))
        assert process.poll() is None
        for connection in connections:
            connection.send(image)
        for connection in connections:
            with closing(connection):
                response = connection.getresponse()
                assert (response.status, json.loads(response.read())["label"]) == (200, "pituitary")
        process.wait(timeout=30)
    assert process.returncode == 0


def run_to_the_end(module: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs `python -m` with these arguments until it exits by itself."""
    command = [sys.executable, "-m", *module]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=START_S, check=False)


def test_a_bundle_of_another_preprocessing_keeps_the_server_from_starting(tmp_path: Path) -> None:
    spec = {**contract_parts()["input"], "preprocessing_version": "pad-lanczos-299-v9"}
    write_tiny_bundle(tmp_path / "models" / "brain_mri_xception", tmp_path, input=spec)
    done = run_to_the_end(["brainmri", "serve"], environment(tmp_path, free_port()))
    assert done.returncode != 0
    assert "was trained with the preprocessing 'pad-lanczos-299-v9'" in done.stderr


def test_without_a_bundle_the_server_does_not_start(tmp_path: Path) -> None:
    done = run_to_the_end(["brainmri", "serve"], environment(tmp_path, free_port()))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("brainmri: The store has no model 'brain_mri_xception:latest'.")
    assert "Traceback" not in done.stderr


def test_with_an_altered_bundle_the_server_does_not_start(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "models" / "brain_mri_xception", tmp_path)
    (bundle.folder / "openvino-f32" / "model.bin").write_bytes(b"altered")
    done = run_to_the_end(["brainmri", "serve"], environment(tmp_path, free_port()))
    assert done.returncode == 2
    assert "model.bin" in done.stderr
    assert "was altered" in done.stderr


def test_bentoml_serve_itself_refuses_a_stored_bundle_that_was_altered(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "models" / "brain_mri_xception", tmp_path)
    environ = environment(tmp_path, free_port())
    command = [sys.executable, "-m", "brainmri", "models", "import", str(bundle.folder)]
    subprocess.run(command, cwd=ROOT, env=environ, check=True, timeout=START_S, capture_output=True)
    stored = tmp_path / "home" / "models" / "brain_mri_xception" / "0.0.1"
    (stored / "openvino-f32" / "model.bin").write_bytes(b"altered")
    serve = ["bentoml", "serve", "service:BrainMRI", "--host", "127.0.0.1", "--port", str(free_port())]
    done = run_to_the_end(serve, environ)
    assert done.returncode != 0
    assert "was altered" in done.stderr
