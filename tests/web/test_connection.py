"""What a client sees of the connection itself, byte by byte, on a real server."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from brainmri.settings import Settings
from brainmri.web.connection import serve_connections
from brainmri.web.connections import Connections
from tests.web.raw import HIDDEN, SWITCHES, WAIT_S, connected, is_closed, post, read_answer

LIMITS = Settings(header_timeout_s=0.5, max_connections=8, max_connections_per_client=6)

seen: list[str] = []
refusals: list[str] = []


async def echo(request: Request) -> Response:
    seen.append(request.url.path)
    body = await request.body()
    names = sorted(request.headers.keys())
    return JSONResponse({"body": body.decode(), "headers": names, "connection": request.headers.get("connection")})


async def refuse(request: Request) -> Response:
    """Answers without a look at the body."""
    return PlainTextResponse("no", int(request.path_params["status"]))


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    app = Starlette(
        routes=[
            Route("/refuse/{status}", refuse, methods=["GET", "POST"]),
            Route("/{path:path}", echo, methods=["GET", "POST"]),
        ]
    )
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", timeout_keep_alive=30))

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(server.serve([listener]))

    thread = threading.Thread(target=run)
    protocols = uvicorn.config.HTTP_PROTOCOLS
    with pytest.MonkeyPatch.context() as patch:
        # Sets what stands here already, so that these few connections are not the limit of later tests' servers.
        patch.setitem(protocols, "auto", protocols["auto"])
        connections = Connections(LIMITS)
        connections.count_refusal = refusals.append
        serve_connections(connections)
        thread.start()
        yield int(listener.getsockname()[1])
        server.should_exit = True
        thread.join(WAIT_S)
    assert not thread.is_alive()


@pytest.fixture
def connection(port: int) -> Iterator[socket.socket]:
    with connected(port) as opened:
        seen.clear()
        refusals.clear()
        yield opened


@pytest.mark.parametrize("apart", [True, False], ids=["apart", "together"])
@pytest.mark.parametrize("switch", SWITCHES.values(), ids=SWITCHES)
def test_a_request_to_switch_protocols_is_an_ordinary_one(
    connection: socket.socket, switch: tuple[bytes, ...], apart: bool
) -> None:
    head, body = post("/outer", HIDDEN, *switch)
    if apart:
        connection.sendall(head)
        time.sleep(0.1)
        connection.sendall(body)
    else:
        connection.sendall(head + body)
    status, headers, content = read_answer(connection)
    assert (status, json.loads(content)["body"]) == (200, HIDDEN.decode())
    assert not {"upgrade", "http2-settings"} & set(json.loads(content)["headers"])
    assert "connection" not in headers
    # The connection is as good as new.
    connection.sendall(b"".join(post("/next", b"second")))
    assert json.loads(read_answer(connection)[2])["body"] == "second"
    assert seen == ["/outer", "/next"]


def test_a_chunked_body_behind_a_request_to_switch_protocols_is_read(connection: socket.socket) -> None:
    lines = (b"POST /outer HTTP/1.1", b"Host: x", *SWITCHES["h2c"], b"Transfer-Encoding: chunked", b"", b"")
    head = b"\r\n".join(lines)
    connection.sendall(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN))
    assert json.loads(read_answer(connection)[2])["body"] == HIDDEN.decode()
    assert seen == ["/outer"]


def test_thousands_of_requests_to_switch_protocols_in_one_packet_are_all_answered(connection: socket.socket) -> None:
    head, body = post("/", b"x", *SWITCHES["h2c"])
    connection.sendall((head + body) * 1500)
    for _ in range(1500):
        status, _, content = read_answer(connection)
        assert (status, json.loads(content)["body"]) == (200, "x")


def test_other_tokens_of_the_header_connection_are_kept(connection: socket.socket) -> None:
    connection.sendall(b"".join(post("/", b"x", b"Connection: close, Upgrade", b"Upgrade: h2c")))
    status, headers, content = read_answer(connection)
    assert (status, headers["connection"], json.loads(content)["connection"]) == (200, "close", "close")
    assert is_closed(connection)


@pytest.mark.parametrize("status", [413, 401, 404, 429, 503])
@pytest.mark.parametrize("headers", [(), (b"Expect: 100-continue",), SWITCHES["h2c"]], ids=["plain", "expect", "h2c"])
def test_an_answer_before_the_body_was_read_closes_the_connection(
    connection: socket.socket, status: int, headers: tuple[bytes, ...]
) -> None:
    head, body = post(f"/refuse/{status}", HIDDEN, *headers)
    connection.sendall(head)
    answer = read_answer(connection)
    assert (answer[0], answer[1]["connection"], answer[2]) == (status, "close", b"no")
    connection.sendall(body)
    assert is_closed(connection)
    assert seen == []


def test_a_client_that_expects_a_go_ahead_gets_it_when_its_body_is_wanted(connection: socket.socket) -> None:
    head, body = post("/", b"wanted", b"Expect: 100-continue")
    connection.sendall(head)
    assert read_answer(connection)[0] == 100
    connection.sendall(body)
    status, headers, content = read_answer(connection)
    assert (status, json.loads(content)["body"], "connection" in headers) == (200, "wanted", False)


def test_an_answer_after_the_body_has_come_keeps_the_connection(connection: socket.socket) -> None:
    connection.sendall(b"".join(post("/refuse/413", b"short")))
    assert "connection" not in read_answer(connection)[1]
    connection.sendall(b"".join(post("/", b"next")))
    assert json.loads(read_answer(connection)[2])["body"] == "next"


def test_a_client_that_sends_everything_before_it_reads_gets_its_early_answer(connection: socket.socket) -> None:
    body = b"x" * 20_000_000  # far beyond what sockets buffer
    connection.sendall(b"".join(post("/refuse/413", body)))
    status, headers, _ = read_answer(connection)
    assert (status, headers["connection"]) == (413, "close")
    assert is_closed(connection)


@pytest.mark.parametrize(
    "text",
    [
        b"nonsense\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["nonsense", "HTTP/2", "CONNECT", "two framings", "two lengths", "bad chunk"],
)
def test_what_is_no_valid_request_gets_400_and_nothing_after_it_runs(connection: socket.socket, text: bytes) -> None:
    connection.sendall(text + HIDDEN)
    status, headers, content = read_answer(connection)
    assert (status, headers["connection"]) == (400, "close")
    assert json.loads(content)["error"]["code"] == "malformed_request"
    assert is_closed(connection)
    assert "/hidden" not in seen
    assert refusals == ["malformed"]


def test_nonsense_behind_a_whole_request_does_not_take_its_answer(connection: socket.socket) -> None:
    connection.sendall(b"".join(post("/", b"whole")) + b"nonsense\r\n\r\n")
    _, headers, content = read_answer(connection)
    assert (headers["connection"], json.loads(content)["body"]) == ("close", "whole")
    assert is_closed(connection)


def test_headers_that_never_end_are_refused(connection: socket.socket) -> None:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ")
    for _ in range(20):
        connection.sendall(b"x" * 20_000)
        time.sleep(0.01)
    status, headers, content = read_answer(connection)
    assert (status, headers["connection"]) == (431, "close")
    assert json.loads(content)["error"]["code"] == "request_headers_too_large"
    assert "65536 bytes" in json.loads(content)["error"]["message"]
    assert is_closed(connection)
    assert refusals == ["headers_too_large"]


@pytest.mark.parametrize("before", [b"", b"".join(post("/", b"first"))], ids=["first request", "second request"])
def test_headers_that_come_too_slowly_are_refused(connection: socket.socket, before: bytes) -> None:
    if before:
        connection.sendall(before)
        assert read_answer(connection)[0] == 200
    begun = time.monotonic()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for byte in b"GET / HTTP/1.1":
            connection.sendall(bytes([byte]))
            time.sleep(0.08)
    status, headers, content = read_answer(connection)
    assert (status, headers["connection"]) == (408, "close")
    assert json.loads(content)["error"]["code"] == "request_timeout"
    assert time.monotonic() - begun > LIMITS.header_timeout_s
    assert is_closed(connection)
    assert refusals == ["headers_late"]


@pytest.mark.parametrize("first", [b"", b"\r\n\r\n"], ids=["nothing", "line ends"])
def test_a_connection_without_a_request_is_closed(connection: socket.socket, first: bytes) -> None:
    connection.sendall(first)
    assert is_closed(connection)


def test_an_answered_connection_stays_open_for_longer_than_headers_may_take(connection: socket.socket) -> None:
    connection.sendall(b"".join(post("/", b"first")))
    assert read_answer(connection)[0] == 200
    time.sleep(3 * LIMITS.header_timeout_s)
    connection.sendall(b"".join(post("/", b"second")))
    assert read_answer(connection)[0] == 200


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("begin", [b"5;extension=", b"5\r\nhello\r\n0\r\nX-Trailer: "], ids=["extension", "trailer"])
def test_what_frames_a_body_is_limited(connection: socket.socket, begin: bytes) -> None:
    connection.sendall(CHUNKED + begin)
    for _ in range(20):
        connection.sendall(b"x" * 20_000)
        time.sleep(0.01)
    status, headers, _ = read_answer(connection)
    assert (status, headers["connection"]) == (400, "close")


def test_a_body_of_many_small_chunks_is_read(connection: socket.socket) -> None:
    connection.sendall(CHUNKED + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")
    assert json.loads(read_answer(connection)[2])["body"] == "x" * 100_000


def test_a_trailer_changes_no_header(connection: socket.socket) -> None:
    connection.sendall(CHUNKED + b"5\r\nhello\r\n0\r\nX-Api-Key: secret\r\n\r\n")
    content = json.loads(read_answer(connection)[2])
    assert content == {"body": "hello", "headers": ["host", "transfer-encoding"], "connection": None}


def test_connections_beyond_the_share_of_a_client_are_told_so(port: int) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(LIMITS.max_connections_per_client):
            connection = stack.enter_context(connected(port))
            connection.sendall(b"".join(post("/", b"kept")))
            assert read_answer(connection)[0] == 200
        one_more = stack.enter_context(connected(port))
        status, headers, content = read_answer(one_more)
        assert (status, headers["connection"], headers["retry-after"]) == (429, "close", "1")
        assert json.loads(content)["error"]["limit"] == "6 connections of this client"
        assert refusals[-1] == "too_many_of_client"
        assert is_closed(one_more)
        # Those that are open go on.
        connection.sendall(b"".join(post("/", b"again")))
        assert read_answer(connection)[0] == 200
    for _ in range(100):
        with connected(port) as again:
            again.sendall(b"".join(post("/", b"again")))
            if read_answer(again)[0] == 200:
                return
        time.sleep(0.05)
    pytest.fail("Closed connections still count.")
