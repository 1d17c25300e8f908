"""How a real server starts, changes its models and ends, while it is being used."""

import contextlib
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from brainmri.lifecycle.desired_state import DesiredState
from tests.e2e.load import calling
from tests.e2e.servers import Server, environment, run_to_the_end, serving
from tests.tiny import write_tiny_bundle

pytestmark = pytest.mark.slow

NAME = "brain_mri_xception"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of two workers, which the tests change one after another."""
    with serving(tmp_path_factory.mktemp("pair"), workers=2, worker_timeout_s=600) as server:
        for version in ("0.0.2", "0.0.3"):
            folder = server.folder / version
            write_tiny_bundle(folder, server.folder, version=version)
            done = server.command("models", "import", str(folder))
            assert (done.returncode, done.stdout) == (0, f"{NAME}:{version}\n"), done.stderr
        yield server


def ask_http(server: Server, image: bytes) -> Callable[[], object]:
    """Returns a call on a connection of its own; it gives the version that answered, or what went wrong."""
    port = server.client.base_url.port

    def call() -> object:
        with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            try:
                connection.request("POST", "/predict", image, {"Content-Type": "image/png"})
                response = connection.getresponse()
                body = json.loads(response.read())
            except OSError as error:
                return error
        return body["model"]["version"] if response.status == 200 and body["label"] == "glioma" else body

    return call


def serves(server: Server, version: str) -> int:
    """Returns how often workers have said that they serve a version."""
    return server.log.count(f"Serving {NAME}:{version}, ")


def test_activating_a_model_reaches_every_worker_and_loses_no_request(pair: Server, png: Callable[..., bytes]) -> None:
    pair.until(lambda: serves(pair, "0.0.1") == 2, "both workers serve the released model")
    before = pair.workers()
    with calling(ask_http(pair, png((255, 0, 0))), callers=4) as record:
        pair.until(lambda: len(record.outcomes) > 20, "requests are answered")
        done = pair.command("models", "activate", f"{NAME}:0.0.2")
        assert done.returncode == 0, done.stderr
        assert "GET /model shows which one answers" in done.stdout
        pair.until(lambda: serves(pair, "0.0.2") == 2, "both workers serve the activated model")
        switched = time.monotonic()
        pair.until(lambda: len(record.results()) - len(record.results(switched)) > 20, "more requests are answered")
    assert set(record.results(switched)) <= {"0.0.1", "0.0.2"}
    assert {outcome.result for outcome in record.outcomes if outcome.begun > switched} == {"0.0.2"}
    assert pair.client.get("/model").json()["version"] == "0.0.2"
    assert len(before) == 2
    assert pair.workers() == before


def test_a_bundle_that_was_altered_in_the_store_is_refused_and_the_old_one_goes_on(
    pair: Server, png: Callable[..., bytes]
) -> None:
    stored = pair.folder / "home" / "models" / NAME / "0.0.3" / "openvino-f32" / "model.bin"
    whole = stored.read_bytes()
    stored.write_bytes(whole[:-1] + b"?")
    try:
        done = pair.command("models", "activate", f"{NAME}:0.0.3")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("brainmri: openvino-f32/model.bin in")
        assert "was altered" in done.stderr
        assert done.stderr.count("\n") == 1
        # Altered only after the command has looked at it.
        pair.state.desired.write(DesiredState((f"{NAME}:0.0.1",), f"{NAME}:0.0.3"))
        pair.until(lambda: pair.log.count("The models stay as they are: openvino-f32") == 2, "both workers refuse it")
    finally:
        stored.write_bytes(whole)
    assert ask_http(pair, png((255, 0, 0)))() == "0.0.2"
    assert pair.client.get("/readyz").status_code == 200


def test_sighup_resolves_the_configured_models_again_and_loses_no_request(
    pair: Server, png: Callable[..., bytes]
) -> None:
    pair.state.desired.write(DesiredState((f"{NAME}:0.0.1",)))
    pair.until(lambda: serves(pair, "0.0.1") == 4, "both workers serve the configured model again")
    before = pair.workers()
    with calling(ask_http(pair, png((255, 0, 0))), callers=4) as record:
        # A new release: BRAINMRI_MODELS is `latest`, which means the one in the folder of released bundles.
        write_tiny_bundle(pair.folder / "models" / NAME, pair.folder, version="0.0.4")
        pair.process.send_signal(signal.SIGHUP)
        pair.until(lambda: serves(pair, "0.0.4") == 2, "both workers serve the new release")
    assert set(record.results()) <= {"0.0.1", "0.0.4"}
    assert ask_http(pair, png((255, 0, 0)))() == "0.0.4"
    assert pair.workers() == before


def test_a_worker_that_is_killed_is_replaced_by_one_that_serves_what_is_wanted(
    pair: Server, png: Callable[..., bytes]
) -> None:
    pair.state.desired.write(DesiredState((f"{NAME}:0.0.1",), f"{NAME}:0.0.2"))
    pair.until(lambda: serves(pair, "0.0.2") == 4, "both workers serve the activated model again")
    before = pair.workers()
    os.kill(min(before), signal.SIGKILL)
    pair.until(lambda: serves(pair, "0.0.2") == 5, "a third worker serves it")
    assert len(pair.workers()) == 2
    assert pair.workers() != before
    pair.until(lambda: pair.client.get("/livez").status_code == 200, "the server is alive")
    assert ask_http(pair, png((255, 0, 0)))() == "0.0.2"


def test_a_worker_that_hangs_shows_in_livez_and_is_no_longer_ready_for_anybody(pair: Server) -> None:
    def statuses(path: str) -> set[int]:
        """Asks on many connections: those that the hanging worker accepts time out."""
        seen = set()
        for _ in range(8):
            with contextlib.suppress(httpx.TransportError):
                url = pair.client.base_url.join(path)
                seen.add(httpx.get(url, trust_env=False, timeout=0.5).status_code)
        return seen

    hanging = min(pair.workers())
    assert statuses("/livez") == statuses("/v2/health/live") == {200}
    os.kill(hanging, signal.SIGSTOP)
    try:
        # Ten seconds without a sign of life.
        pair.until(lambda: statuses("/livez") == {503}, "the other worker says so")
        assert statuses("/v2/health/live") == {503}
    finally:
        os.kill(hanging, signal.SIGCONT)
    pair.until(lambda: statuses("/livez") == {200}, "the server is alive again")


def test_workers_end_when_their_server_has_been_killed(tmp_path: Path) -> None:
    # It does not end in good order, as the helper expects it to.
    with contextlib.suppress(AssertionError), serving(tmp_path, workers=2) as server:
        server.process.kill()
        # Until nobody accepts a connection: the ports are free for the next server.
        statuses = list(readiness(server))
    assert 503 in statuses
    assert server.log.count("The server's parent process has died") == 2


def ask_grpc(client: triton.InferenceServerClient) -> Callable[[], object]:
    """Returns a call that gives the index of the most probable class, or the status of the error."""
    images = np.zeros((1, 299, 299, 3), np.uint8)
    images[..., 0] = 255
    tensor = triton.InferInput("image", images.shape, "UINT8")
    tensor.set_data_from_numpy(images)

    def call() -> object:
        try:
            answer = client.infer("brain_mri", [tensor], client_timeout=30)
        except InferenceServerException as error:
            return error.status()
        return int(answer.as_numpy("probabilities").argmax())

    return call


def readiness(server: Server) -> Iterator[int]:
    """Yields what /readyz answers, each time on a connection of its own, until nothing accepts it."""
    while True:
        try:
            yield httpx.get(server.client.base_url.join("/readyz"), trust_env=False, timeout=30).status_code
        except httpx.TransportError:
            return


def test_sigterm_under_load_loses_nothing_over_http_and_grpc(tmp_path: Path, png: Callable[..., bytes]) -> None:
    delay_s = 3
    with (
        serving(tmp_path, shutdown_delay_s=delay_s) as server,
        triton.InferenceServerClient(server.grpc_address) as rpc,
        calling(ask_http(server, png((255, 0, 0))), callers=4) as over_http,
        calling(ask_grpc(rpc), callers=4) as over_grpc,
    ):
        server.until(lambda: min(len(over_http.outcomes), len(over_grpc.outcomes)) > 20, "requests are answered")
        signalled = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        states = list(readiness(server))
        server.process.wait(timeout=60)
    # What began in the first half of the delay was surely accepted, and much of it only after the signal.
    surely = signalled + delay_s / 2
    assert set(over_http.results(surely)) == {"0.0.1"}
    assert set(over_grpc.results(surely)) == {0}
    assert len(over_http.results(surely)) > len(over_http.results(signalled))
    assert len(over_grpc.results(surely)) > len(over_grpc.results(signalled))
    # After that a request is answered, refused with a reason, or finds the port closed.
    late = [result for result in over_http.results() if result != "0.0.1"]
    refused = [result["error"]["code"] for result in late if isinstance(result, dict)]
    assert set(refused) == {"not_ready"}
    others = [result for result in late if not isinstance(result, dict)]
    assert all(isinstance(result, ConnectionRefusedError) for result in others), others
    # gRPC cancels what arrives while it stops listening.
    assert set(over_grpc.results()) <= {0, "StatusCode.UNAVAILABLE", "StatusCode.CANCELLED"}
    # Whatever reached the service was answered, and its answer arrived.
    assert len(re.findall(r"POST /predict .* status=200 ", server.log)) == over_http.results().count("0.0.1")
    assert len(re.findall(r"POST /predict ", server.log)) == over_http.results().count("0.0.1") + len(refused)
    assert len(re.findall(r'/ModelInfer .* status="OK" ', server.log)) == over_grpc.results().count(0)
    assert len(re.findall(r"access: \S+/ModelInfer ", server.log)) == over_grpc.results().count(0)
    # Not ready while it still answers.
    assert 503 in states
    assert states[states.index(503) :] == [503] * states.count(503)
    assert server.process.returncode == 0


@pytest.mark.parametrize("variable", ["BRAINMRI_HTTP_PORT", "BRAINMRI_GRPC_PORT"])
def test_a_port_that_is_taken_is_one_clear_sentence(tmp_path: Path, variable: str) -> None:
    write_tiny_bundle(tmp_path / "models" / NAME, tmp_path)
    environ = environment(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(environ[variable])))
        other.listen()
        done = run_to_the_end(["brainmri", "serve"], environ)
    assert done.returncode == 2
    assert done.stderr == (
        f"brainmri: 127.0.0.1:{environ[variable]} cannot be listened on: Address already in use."
        f" Set {variable} to a free port of this machine.\n"
    )


def test_without_a_server_there_is_nothing_to_activate(tmp_path: Path) -> None:
    done = run_to_the_end(["brainmri", "models", "activate", f"{NAME}:latest"], environment(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("brainmri: No server is running with BENTOML_HOME=")
