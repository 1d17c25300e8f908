"""Single connections to a real server, byte by byte."""

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from brainmri.web.auth import edit_keys, new_key
from tests.e2e.servers import Server, serving
from tests.web.raw import (
    GOAWAY,
    HIDDEN,
    HTTP2_PREFACE,
    SWITCHES,
    connected,
    http2_frames,
    is_closed,
    post,
    read_answer,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("connections")


@pytest.fixture(scope="module")
def key(folder: Path) -> bytes:
    """The header of an accepted key."""
    with edit_keys(folder / "keys") as keys:
        text, keys["tester"] = new_key("tester")
    return b"X-API-Key: " + text.encode()


@pytest.fixture(scope="module")
def server(folder: Path, key: bytes) -> Iterator[Server]:
    with serving(folder, api_keys_file=str(folder / "keys")) as running:
        assert key
        yield running


def port_of(server: Server) -> int:
    return int(server.environ["BRAINMRI_HTTP_PORT"])


@pytest.mark.parametrize("switch", SWITCHES.values(), ids=SWITCHES)
def test_an_upload_with_a_request_to_switch_protocols_is_classified(
    server: Server, key: bytes, png: Callable[..., bytes], switch: tuple[bytes, ...]
) -> None:
    head, body = post("/predict", png((255, 0, 0)), key, b"Content-Type: image/png", *switch)
    with connected(port_of(server)) as connection:
        connection.sendall(head)
        time.sleep(0.1)
        connection.sendall(body)
        status, _, content = read_answer(connection)
        assert (status, json.loads(content)["label"]) == (200, "glioma")


def test_a_body_behind_a_request_to_switch_protocols_never_runs(server: Server, key: bytes) -> None:
    head, body = post("/predict", HIDDEN, key, b"Content-Type: image/jpeg", *SWITCHES["h2c"])
    with connected(port_of(server)) as connection:
        connection.sendall(head)
        time.sleep(0.1)
        connection.sendall(body)
        status, _, content = read_answer(connection)
        assert (status, json.loads(content)["error"]["code"]) == (400, "image_unreadable")
        connection.sendall(b"".join(post("/docs.json", b"")))
        # One answer for one request: the next belongs to the next.
        assert read_answer(connection)[0] == 405


@pytest.mark.parametrize(
    ("path", "with_key", "length", "status"),
    [("/predict", True, 300_001, 413), ("/predict", False, 100, 401), ("/nowhere", True, 100, 404)],
)
@pytest.mark.parametrize("expect", [(), (b"Expect: 100-continue",)], ids=["plain", "expect"])
def test_a_refusal_before_the_body_was_read_closes_the_connection(
    server: Server, key: bytes, path: str, with_key: bool, length: int, status: int, expect: tuple[bytes, ...]
) -> None:
    head, body = post(path, HIDDEN.ljust(length), b"Content-Type: image/png", *expect, *((key,) if with_key else ()))
    with connected(port_of(server)) as connection:
        connection.sendall(head)
        answer = read_answer(connection)
        assert (answer[0], answer[1].get("connection")) == (status, "close")
        connection.sendall(body)
        assert is_closed(connection)


def test_a_web_page_cannot_reach_a_server_on_loopback(server: Server, key: bytes) -> None:
    headers = {"X-API-Key": key.decode().partition(": ")[2]}
    rebound = server.client.get("/model", headers={**headers, "Host": "evil.example"})
    assert (rebound.status_code, rebound.json()["error"]["code"]) == (421, "misdirected_request")
    form = server.client.post("/predict", headers={**headers, "Origin": "http://evil.example"})
    assert (form.status_code, form.json()["error"]["code"]) == (403, "foreign_origin")
    assert server.client.get("/model", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "cache"),
    [("/model", 401, "no-store"), ("/", 200, "no-cache"), ("/static_content/swagger-ui.css", 200, "no-cache")],
)
def test_browsers_are_told_how_to_treat_every_answer(server: Server, path: str, status: int, cache: str) -> None:
    answer = server.client.get(path)
    assert (answer.status_code, answer.headers["cache-control"]) == (status, cache)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "script-src 'self';" in answer.headers["content-security-policy"]


def test_an_idle_grpc_connection_is_told_that_the_server_ends(tmp_path: Path) -> None:
    with serving(tmp_path) as running, connected(int(running.environ["BRAINMRI_GRPC_PORT"])) as connection:
        connection.sendall(HTTP2_PREFACE)
        assert connection.recv(9, socket.MSG_PEEK)[3] == 4  # The server's settings, so it has accepted.
        running.process.send_signal(signal.SIGTERM)
        connection.settimeout(30)
        assert GOAWAY in http2_frames(connection)
        running.process.wait(30)
