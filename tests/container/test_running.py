"""The image at work, locked down as a cluster would run it: real slices, its limits, and its end under load."""

import http.client
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from benchmarks.pictures import pictures
from brainmri.model.bundle import load_bundle
from brainmri.model.predictor import Predictor
from tests.container.engine import BUILD_S, Container, Engine, running
from tests.e2e.load import calling
from tests.e2e.servers import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.container, pytest.mark.timeout(3 * BUILD_S)]

DELAY_S = 3
SLICES = 8


@pytest.fixture(scope="module")
def container(engine: Engine, image: str) -> Iterator[Container]:
    """One container for all tests of this module; the last one ends it."""
    with running(engine, image, shutdown_delay_s=DELAY_S) as container:
        yield container


@pytest.fixture(scope="module")
def slices() -> list[bytes]:
    """Slices of the test set where BRAINMRI_DATA names it, made ones elsewhere."""
    return pictures(SLICES, 512)[1]


def over_http(container: Container, image: bytes) -> object:
    """Returns the probabilities of an image, on a connection of its own, or what went wrong."""
    with closing(http.client.HTTPConnection("127.0.0.1", container.client.base_url.port, timeout=60)) as connection:
        try:
            connection.request("POST", "/predict", image, {"Content-Type": "image/jpeg"})
            response = connection.getresponse()
            body = json.loads(response.read())
        except OSError as error:
            return error
    return list(body["probabilities"].values()) if response.status == 200 else body


def over_grpc(client: triton.InferenceServerClient, image: bytes) -> object:
    """Returns the probabilities of an image, or the status of the error."""
    tensor = triton.InferInput("image", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[image]], dtype=object))
    try:
        answer = client.infer("brain_mri_image", [tensor], client_timeout=60)
    except InferenceServerException as error:
        return error.status()
    return answer.as_numpy("probabilities")[0].tolist()


def test_it_answers_as_the_released_bundle_does(container: Container, slices: list[bytes]) -> None:
    bundle = load_bundle(ROOT / "models" / "brain_mri_xception")
    predictor = Predictor.open(bundle)
    with triton.InferenceServerClient(container.grpc_address) as client:
        for image in slices:
            expected = list(predictor.predict(image).probabilities.values())
            assert over_http(container, image) == pytest.approx(expected, abs=1e-4)
            assert over_grpc(client, image) == pytest.approx(expected, abs=1e-4)


def test_it_is_locked_down(container: Container) -> None:
    status = dict(
        line.split(":\t", 1) for line in container.python("print(open('/proc/1/status').read())").splitlines()
    )
    assert status["Uid"].split() == ["1034"] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    refused = container.python(
        "import pathlib\n"
        "for folder in ('/', '/app', '/opt/venv', '/opt/pycache'):\n"
        "    try: pathlib.Path(folder, 'new').touch()\n"
        "    except OSError as error: print(error.strerror)"
    )
    assert refused.splitlines() == ["Read-only file system"] * 4


def test_it_knows_its_limits(container: Container) -> None:
    assert "threads 1" in container.log
    assert "brainmri_memory_limit_bytes 1.073741824e+09" in container.client.get("/metrics").text


def test_its_health_check_tells_that_it_is_ready(container: Container) -> None:
    assert container.engine.run("podman", "healthcheck", "run", container.name) == ""


def answered(container: Container) -> Counter[int | str]:
    """Returns how many requests for predictions the service says it has answered, by status."""
    entries = [json.loads(line) for line in filter(None, container.log.splitlines())]
    return Counter(entry["status"] for entry in entries if entry["logger"] == "brainmri.access" and entry["images"])


def test_sigterm_under_load_loses_nothing(container: Container, slices: list[bytes]) -> None:
    before = answered(container)
    with (
        triton.InferenceServerClient(container.grpc_address) as client,
        calling(lambda: over_http(container, slices[0]), callers=3) as http_record,
        calling(lambda: over_grpc(client, slices[1]), callers=3) as grpc_record,
    ):
        container.until(lambda: min(len(http_record.outcomes), len(grpc_record.outcomes)) > 20, "it is busy")
        signalled = time.monotonic()
        container.engine.run("podman", "kill", "--signal", "TERM", container.name)
        exit_status = container.engine.run("podman", "wait", container.name)
    assert exit_status == "0", container.log
    under_load = answered(container) - before
    for record, status in ((http_record, 200), (grpc_record, "OK")):
        # What began in the first half of the delay was surely accepted, and much of it only after the signal.
        accepted = record.results(signalled + DELAY_S / 2)
        lost = [result for result in accepted if not isinstance(result, list)]
        assert lost == []
        assert len(accepted) > len(record.results(signalled))
        # Whatever reached the service was answered, and its answer arrived.
        assert under_load[status] == sum(isinstance(result, list) for result in record.results())
    late = [result for result in http_record.results() if not isinstance(result, list)]
    assert late
    # While the server ends it answers that it does; after that nobody is there.
    assert all(isinstance(result, ConnectionError) or "'not_ready'" in str(result) for result in late), late
