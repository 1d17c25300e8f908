"""A client of HTTP/1.1 that costs as little as Python allows: requests made beforehand, answers hardly looked at."""

import asyncio
import re
import time
from dataclasses import dataclass
from typing import cast

HOST = "127.0.0.1"

REUSE_S = 2.0
"""A connection that was idle for longer is not used again: servers close them, uvicorn after 5 s."""

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_RETRY = re.compile(rb"\r\nretry-after: *([0-9]+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_HEAD_LENGTH = re.compile(rb"\r\ninference-header-content-length: *([0-9]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Reply:
    """An answer, of HTTP or gRPC.

    Attributes:
        status: `200`, or `OK`.
        retry_after_s: What it says, in seconds; None if nothing.
        body: HTTP: without the JSON that goes before binary tensors. gRPC: the serialized message.
    """

    status: str
    retry_after_s: float | None
    body: bytes


class _Exchange(asyncio.Protocol):
    """One connection, with at most one request under way."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.reply: asyncio.Future[Reply] | None = None
        self._received = bytearray()
        self._wanted = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are none by type.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._wanted:
            head = self._received.find(b"\r\n\r\n")
            if head < 0:
                return
            length = _LENGTH.search(self._received, 0, head + 2)
            if length is None:
                self._fail(ConnectionError("An answer without a length."))
                return
            self._wanted = head + 4 + int(length[1])
        if len(self._received) >= self._wanted:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._fail(exc or ConnectionError("The server closed the connection."))

    def _finish(self) -> None:
        received, self._received = self._received, bytearray()
        self._wanted = 0
        end = received.find(b"\r\n\r\n") + 2
        retry, skip = _RETRY.search(received, 0, end), _HEAD_LENGTH.search(received, 0, end)
        body = bytes(received[end + 2 + (int(skip[1]) if skip else 0) :])
        if _CLOSE.search(received, 0, end):
            self.close()
        if self.reply is not None and not self.reply.done():
            self.reply.set_result(Reply(received[9:12].decode(), float(retry[1]) if retry else None, body))

    def _fail(self, error: Exception) -> None:
        self.close()
        if self.reply is not None and not self.reply.done():
            self.reply.set_exception(error)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()
            self.transport = None


class HttpClient:
    """One client; it connects when it must.

    Args:
        port: On the loopback address.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection = _Exchange()
        self._used = 0.0

    async def send(self, request: bytes) -> Reply:
        """Sends a whole request and returns the answer.

        Raises:
            OSError: The connection cannot be made, or was lost.
        """
        transport, reply = await self._begin()
        transport.write(request)
        return await self._end(reply)

    async def send_slowly(self, request: bytes, pieces: int = 4, pause_s: float = 0.5) -> Reply:
        """Sends a request in pieces with pauses between them; otherwise as `send`."""
        transport, reply = await self._begin()
        size = -(-len(request) // pieces)
        for start in range(0, len(request), size):
            if start:
                await asyncio.sleep(pause_s)
            transport.write(request[start : start + size])
        return await self._end(reply)

    async def leave(self, request: bytes, after_s: float = 0.005) -> None:
        """Sends a whole request and closes the connection before the answer can come."""
        transport, _ = await self._begin()
        transport.write(request)
        await asyncio.sleep(after_s)
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._connection.reply = None
        self._connection.close()

    async def _begin(self) -> tuple[asyncio.Transport, asyncio.Future[Reply]]:
        loop = asyncio.get_running_loop()
        if time.monotonic() - self._used > REUSE_S:
            self.close()
        if self._connection.transport is None:
            _, self._connection = await loop.create_connection(_Exchange, HOST, self._port)
        transport = self._connection.transport
        if transport is None:
            raise ConnectionError("The server closed the connection.")
        self._connection.reply = reply = loop.create_future()
        return transport, reply

    async def _end(self, reply: asyncio.Future[Reply]) -> Reply:
        try:
            return await reply
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._used = time.monotonic()
