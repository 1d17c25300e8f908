"""Each kind of user alone, and a master with a worker, against a real service that asks for an API key."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from brainmri.web.auth import edit_keys, new_key
from loadtests.record import read_record
from tests.e2e.servers import Server, free_port, serving
from tests.loadtests.locust_runs import MOST_S, ROOT, locust, recorded, run_module

KEY = "BRAINMRI_LOADTEST_API_KEY"
FEW = ("--image-side", "128", "--image-count", "2")
SHORT = ("--shape", "constant", "--levels", "10", "--stage-seconds", "3", *FEW)
GRPC_KINDS = {"gRPC ModelInfer image", "gRPC ModelInfer tensor"}
OFTEN = {"POST /predict", "POST /v2 infer tensor", *GRPC_KINDS}
"""What a few seconds of all users surely have: one request in twenty is of a batch."""


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """The service, and its only key."""
    folder = tmp_path_factory.mktemp("keyed")
    with edit_keys(folder / "keys") as known:
        key, known["load-test"] = new_key("load-test")
    with serving(folder, api_keys_file=str(folder / "keys")) as server:
        yield server, key


@pytest.fixture
def service(keyed: tuple[Server, str], monkeypatch: pytest.MonkeyPatch) -> Server:
    """The service, whose key whatever the test starts finds in its environment."""
    server, key = keyed
    monkeypatch.setenv(KEY, key)
    return server


@pytest.mark.parametrize(
    ("tag", "user", "kinds"),
    [
        ("batch", "BatchUser", {"POST /predict_batch"}),
        ("tensor", "TensorUser", {"POST /v2 infer tensor"}),
        ("grpc", "GrpcUser", GRPC_KINDS),
        ("tensor", "MixedUser", {"POST /v2 infer tensor", "gRPC ModelInfer tensor"}),
    ],
)
def test_a_user_sends_what_its_tag_says_with_the_key(
    service: Server, tmp_path: Path, tag: str, user: str, kinds: set[str]
) -> None:
    host = str(service.client.base_url)
    record = recorded(host, tmp_path, "--grpc-host", service.grpc_address, "--tags", tag, *SHORT, user)
    assert {kind for _, kind in record.tallies} == kinds
    assert record.about["tags"] == tag
    assert record.faults == {}
    assert sum(tally.answered for tally in record.tallies.values()) == record.requests() > 5


def test_without_the_key_nothing_is_sent(service: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY)
    done = locust(str(service.client.base_url), tmp_path / "record.json", *SHORT, "UploadUser")
    assert done.returncode == 1
    assert "does not serve as it should (status 401)" in done.stderr


def test_a_worker_sends_what_its_master_says_and_the_master_judges(service: Server, tmp_path: Path) -> None:
    """With the flags of k8s/components/loadtest; the worker gets the key from its master alone."""
    port, output = str(free_port()), tmp_path / "out"
    environ = {name: value for name, value in os.environ.items() if name != KEY}
    command = ["locust", "--locustfile=loadtests/locustfile.py", "--worker", "--master-host=127.0.0.1"]
    command += [f"--master-port={port}", "--exit-code-on-error=0"]
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, env=environ, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        done = run_module(
            *("loadtests.run", "smoke", f"--host={service.client.base_url}", f"--grpc-host={service.grpc_address}"),
            *(f"--output={output}", "--levels=20", "--stage-seconds=6", "--check", "--within-ms 30000", *FEW),
            *("--master", "--expect-workers=1", "--master-bind-host=127.0.0.1", f"--master-bind-port={port}"),
        )
        status = worker.wait(MOST_S)
    finally:
        worker.kill()
        worker.wait()
    told = done.stdout + done.stderr + (tmp_path / "worker.log").read_text()
    assert (done.returncode, status) == (0, 0), told
    assert "PASS: all 5 objectives met." in done.stdout
    record = read_record(output / "record.json")
    assert {kind for _, kind in record.tallies} >= OFTEN
    assert record.about["model"].startswith("brain_mri_xception:0.0.1 openvino")
    assert [(span.load, round(span.end - span.start)) for span in record.spans] == [(20, 6)]
    assert record.faults == {}
    assert "PASS" in (output / "report.html").read_text()
