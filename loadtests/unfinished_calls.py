"""A hostile gRPC client: calls that send all of their message but its last byte, as far as the server lets them.

It speaks HTTP/2 (RFC 9113) itself, because gRPC's clients finish what they begin.
"""

import socket
import struct
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

INFER = "/inference.GRPCInferenceService/ModelInfer"

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_INITIAL_WINDOW_SIZE = 4
_HEAD = struct.Struct(">IBI")
"""Length and type in one, flags, stream."""
_FRAME_BYTES = 16 * 2**10
_POLL_S = 0.01


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return _HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


GREETING = _PREFACE + _frame(_SETTINGS, 0, 0)
"""What every client of HTTP/2 sends first."""


class UnfinishedCalls:
    """The calls of one connection.

    Args:
        port: Of the server on this machine.
        calls: How many.
        message_bytes: What each announces.
        path: Which method they call.
        metadata: Further headers of each, such as a key.

    Attributes:
        sent: Bytes of its message that each open call has sent, by stream.
        ended: Streams that the server has ended.
        closed: Whether the server has closed the connection.
    """

    def __init__(
        self,
        port: int,
        calls: int,
        message_bytes: int,
        path: str = INFER,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._received = bytearray()
        self._window = self._initial = 65_535
        self._windows: dict[int, int] = {}
        self._message_bytes = message_bytes
        self.sent: dict[int, int] = {}
        self.ended: set[int] = set()
        self.closed = False
        self._socket.sendall(GREETING)
        headers = b"".join(_literal(*header) for header in (*_headers(path), *metadata))
        for stream in range(1, 2 * calls, 2):
            self._socket.sendall(_frame(_HEADERS, _END_HEADERS, stream, headers))
            self._windows[stream], self.sent[stream] = self._initial, 0
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Closes the connection."""
        self._socket.close()

    @property
    def unfinished(self) -> int:
        """Bytes that the server has of messages which it still waits for."""
        return 0 if self.closed else sum(self.sent.values())

    def go_on(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Sends what the server allows for so long, or until something holds."""
        end = time.monotonic() + seconds
        while not self.closed and time.monotonic() < end and not until():
            if not (self._receive() | self._send()):
                time.sleep(_POLL_S)

    def _send(self) -> bool:
        progress = False
        for stream, sent in self.sent.items():
            size = min(self._message_bytes + 4 - sent, self._windows[stream], self._window, _FRAME_BYTES)
            if size <= 0:
                continue
            # The message's head is its compression and its length; its last byte never comes.
            head = struct.pack(">BI", 0, self._message_bytes)[sent:]
            content = (head + bytes(size))[:size]
            if not self._write(_frame(_DATA, 0, stream, content)):
                break
            self.sent[stream] += size
            self._windows[stream] -= size
            self._window -= size
            progress = True
        return progress

    def _write(self, frame: bytes) -> bool:
        self._socket.settimeout(5)
        try:
            self._socket.sendall(frame)
        except OSError:
            self.closed = True
        finally:
            self._socket.setblocking(False)
        return not self.closed

    def _receive(self) -> bool:
        try:
            data = self._socket.recv(2**16)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return False
        self._received += data
        while len(self._received) >= _HEAD.size and self._take_frame():
            pass
        return True

    def _take_frame(self) -> bool:
        length_and_type, flags, stream = _HEAD.unpack_from(self._received)
        length, kind = length_and_type >> 8, length_and_type & 0xFF
        if len(self._received) < _HEAD.size + length:
            return False
        payload = bytes(self._received[_HEAD.size : _HEAD.size + length])
        del self._received[: _HEAD.size + length]
        self._take(kind, flags, stream, payload)
        return True

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            self._take_settings(payload)
        elif kind == _PING and not flags & _ACK:
            self._write(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW_UPDATE:
            size = int.from_bytes(payload, "big")
            if not stream:
                self._window += size
            elif stream in self._windows:
                self._windows[stream] += size
        elif kind == _RST_STREAM or (kind == _HEADERS and flags & _END_STREAM):
            self.ended.add(stream)
            self.sent.pop(stream, None)

    def _take_settings(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == _INITIAL_WINDOW_SIZE:
                for stream in self._windows:
                    self._windows[stream] += value - self._initial
                self._initial = value
        self._write(_frame(_SETTINGS, _ACK, 0))


def _headers(path: str) -> tuple[tuple[str, str], ...]:
    return (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    )


def _literal(name: str, value: str) -> bytes:
    """Returns a header as HPACK writes it without its tables (RFC 7541, 6.2.2); neither may have 127 bytes."""
    return bytes((0, len(name))) + name.encode() + bytes((len(value),)) + value.encode()
