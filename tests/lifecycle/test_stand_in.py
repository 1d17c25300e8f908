import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from brainmri.lifecycle.supervisor import StandIn
from brainmri.settings import Settings


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A socket that listens, as the parent process holds it."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one


def url(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


def ask(listening: socket.socket, **request: object) -> httpx.Response:
    return httpx.post(f"{url(listening)}/predict", trust_env=False, timeout=20, **request)  # type: ignore[arg-type]


def test_whoever_waits_in_the_kernel_s_queue_is_refused_and_told_when_to_try_again(listening: socket.socket) -> None:
    answers: list[httpx.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(ask(listening, content=b"x" * 300_000)))
    waiting.start()
    time.sleep(0.2)
    assert answers == []
    stand_in = StandIn([listening], Settings())
    waiting.join(20)
    stand_in.stop()
    assert stand_in.join(20)
    (answer,) = answers
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "not_ready"
    assert (answer.headers["retry-after"], answer.headers["connection"]) == ("5", "close")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_once_it_has_stopped_the_socket_is_another_s(listening: socket.socket) -> None:
    stand_in = StandIn([listening], Settings())
    assert ask(listening).status_code == 503
    stand_in.stop()
    assert stand_in.join(20)
    with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
        assert accepted.getpeername()[0] == "127.0.0.1"


def test_a_connection_made_just_before_it_stops_gets_its_answer(listening: socket.socket) -> None:
    stand_in = StandIn([listening], Settings())
    assert ask(listening).status_code == 503
    with socket.create_connection(listening.getsockname(), timeout=20) as client:
        time.sleep(0.2)
        stand_in.stop()
        time.sleep(0.2)
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 503 ")
    assert stand_in.join(20)
