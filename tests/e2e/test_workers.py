"""What callers see of a real server whose only worker dies or hangs."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.servers import Server, serving

pytestmark = pytest.mark.slow

PNG = {"Content-Type": "image/png"}
TIMEOUT_S = 14


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("worker"), worker_timeout_s=TIMEOUT_S) as running:
        yield running


def predict(server: Server, image: bytes) -> httpx.Response:
    """Asks on a connection of its own."""
    url = server.client.base_url.join("/predict")
    return httpx.post(url, content=image, headers=PNG, trust_env=False, timeout=60)


def answers_again(server: Server, image: bytes) -> Callable[[], bool]:
    def look() -> bool:
        try:
            return predict(server, image).status_code == 200
        except httpx.TransportError:
            return False

    return look


def test_requests_are_refused_at_once_while_a_killed_worker_is_replaced(
    server: Server, png: Callable[..., bytes]
) -> None:
    (killed,) = server.workers()
    os.kill(killed, signal.SIGKILL)
    begun = time.monotonic()
    refused = predict(server, png((255, 0, 0)))
    took_s = time.monotonic() - begun
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
    assert (refused.headers["retry-after"], refused.headers["connection"]) == ("5", "close")
    server.until(answers_again(server, png((255, 0, 0))), "the next worker answers")
    assert took_s < (time.monotonic() - begun) / 2
    (again,) = server.workers()
    assert again != killed


def test_a_worker_that_hangs_is_killed_and_replaced(server: Server, png: Callable[..., bytes]) -> None:
    (hanging,) = server.workers()
    os.kill(hanging, signal.SIGSTOP)
    begun = time.monotonic()
    refusing = "No worker runs: requests are refused with 503 until one does"
    before = server.log.count(refusing)
    told = f"Worker {hanging} has given no sign of life for {TIMEOUT_S}"
    server.until(lambda: told in server.log, "the worker is killed")
    assert time.monotonic() - begun > TIMEOUT_S - 2
    server.until(lambda: server.log.count(refusing) > before, "requests are refused")
    server.until(answers_again(server, png((255, 0, 0))), "the next worker answers")
    (again,) = server.workers()
    assert again != hanging


def test_a_worker_whose_bundle_was_altered_says_why(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        stored = server.folder / "home" / "models" / "brain_mri_xception" / "0.0.1" / "openvino-f32" / "model.bin"
        stored.write_bytes(stored.read_bytes()[:-1] + b"?")
        (worker,) = server.workers()
        os.kill(worker, signal.SIGKILL)

        def told() -> bool:
            answer = httpx.get(server.client.base_url.join("/readyz"), trust_env=False, timeout=60)
            return answer.status_code == 503 and "openvino-f32/model.bin in BENTOML_HOME" in answer.text

        server.until(told, "/readyz says what is wrong with the bundle")
        assert httpx.get(server.client.base_url.join("/livez"), trust_env=False, timeout=60).status_code == 503
