"""HTTP/1.1 as bytes on a socket: what client libraries would never send, and what they would hide of an answer."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

WAIT_S = 10
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
"""A body that is a request by itself."""
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""What a client of gRPC says first, with empty settings."""
GOAWAY = 7


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as connection:
        yield connection


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Returns the status, the headers and the body of the next answer that has a length."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = connection.recv(1)
        assert piece, f"The connection was closed after {got!r}."
        got += piece
    first, *lines = got.decode().rstrip().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    body = b""
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(int(headers["content-length"]) - len(body))
    return int(first.split()[1]), headers, body


def is_closed(connection: socket.socket) -> bool:
    """Tells whether the server ends the connection, and sends nothing before."""
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False


def post(path: str, body: bytes, *headers: bytes) -> tuple[bytes, bytes]:
    """Returns head and body of a request."""
    lines = [b"POST %b HTTP/1.1" % path.encode(), b"Host: 127.0.0.1", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join((*lines, b"", b"")), body


SWITCHES = {
    "h2c": (b"Connection: Upgrade", b"Upgrade: h2c"),
    "h2c as curl asks": (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
    "tls": (b"Connection: upgrade", b"Upgrade: TLS/1.0"),
    "websocket": (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"),
    "several": (b"Connection: keep-alive, Upgrade", b"Upgrade: foo/2, h2c, websocket"),
    "several lines": (b"Connection: Upgrade", b"Connection: keep-alive", b"Upgrade: h2c", b"Upgrade: foo"),
    "upgrade first": (b"Upgrade: h2c", b"Connection: x, UPGRADE"),
}


def http2_frames(connection: socket.socket) -> list[int]:
    """Returns the types of the frames that a server of HTTP/2 sends until it closes (RFC 9113, section 4.1)."""
    got = b""
    while piece := connection.recv(4096):
        got += piece
    kinds = []
    while got:
        kinds.append(got[3])
        got = got[9 + int.from_bytes(got[:3], "big") :]
    return kinds
