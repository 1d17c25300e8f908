"""One HTTP/1.1 connection: uvicorn's protocol, with the gaps closed in which a request lost its body or its answer.

- A request to switch protocols (`Upgrade: h2c`, `websocket`, ...) is ignored, as RFC 9110, section 7.8, allows: the
  service speaks HTTP/1.1 only. httptools ends such a message at its headers, and would take the body for a request.
- An answer that is given before the body of its request has come whole says `Connection: close`, and the connection
  is closed: otherwise the client's next bytes, body or not, are anyone's guess.
- Headers have a limit on their bytes and on their time, and so has what frames a chunked body; trailers are ignored.
- While the server ends, every answer says `Connection: close`.
- What a client is still sending when its answer is ready is read and thrown away for a while. Closing at once would
  make its kernel throw away the answer (RFC 9112, section 9.6).
"""

import asyncio
import math
import uuid
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from brainmri.bentoml_internals import serve_connections_with
from brainmri.errors import Overloaded, status_of
from brainmri.web.connections import Connections
from brainmri.web.failures import failure_headers
from brainmri.web.middleware import MAX_HEADER_BYTES
from brainmri.web.schemas import ErrorBody, error_body, plain_error_body

LINGER_S = 30.0
"""How long what follows an early answer is read and thrown away, in seconds, if it does not pause."""

LINGER_PAUSE_S = 5.0
"""Longest pause meanwhile, in seconds, to within its double."""

_LAST_LINGER_S = 1.0
"""The same once the server is about to be gone."""

_CHUNK_FRAMING_BYTES = 24
"""Most bytes that frame a chunk without extensions: sixteen digits and two line ends, and some to spare."""

_SWITCHING = (b"upgrade", b"http2-settings")
"""Headers, and tokens of `Connection`, that ask for another protocol."""


class Connection(HttpToolsProtocol):
    """Serves the requests of one connection, one after the other.

    Args:
        connections: All of this process, which it joins and leaves.
        **server: What uvicorn gives its protocols.
    """

    def __init__(self, connections: Connections, **server: Any) -> None:
        super().__init__(**server)
        self._all = connections
        self._parser_failed = False
        self._last_answer = False
        self._lingering: asyncio.TimerHandle | None = None
        self._linger_end = 0.0
        self._still_sending = False
        self._opened_at = self.loop.time()
        self._in_headers = False
        self._headers_due: asyncio.TimerHandle | None = None
        # Bytes of the message at hand that are neither body nor ordinary framing of it; a little less if several
        # messages come at once.
        self._overhead = 0

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def silent_s(self) -> float:
        """Returns how long ago it was opened, in seconds, if no request has come yet, and infinity otherwise."""
        return self.loop.time() - self._opened_at if self.cycle is None else math.inf

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins, or refuses a connection too many."""
        super().connection_made(transport)
        try:
            self._all.add(self)
        except Overloaded as error:
            if self._all.crowded:
                transport.abort()
            else:
                body = error_body(error, uuid.uuid4().hex)
                self._refuse(HTTPStatus(status_of(error).http), body, failure_headers(error))
        else:
            self._await_headers()

    def data_received(self, data: bytes) -> None:
        """Takes bytes from the network."""
        if self._lingering is not None or self._parser_failed:
            self._still_sending = True
            return
        self._unset_keepalive_if_required()
        self._overhead += len(data)
        try:
            self._parse(memoryview(data))
        except httptools.HttpParserError:
            self._refuse_malformed()
            return
        if self._overhead > MAX_HEADER_BYTES:
            self._refuse_overhead()
        elif self._in_headers or not self.busy:
            self._await_headers()

    def on_message_begin(self) -> None:
        """Begins a request."""
        self._in_headers, self._overhead = True, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes one header; trailers are ignored: by now, what they could change has been decided."""
        if self._in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Starts to answer a request; one to switch protocols waits until it is read again, as an ordinary one."""
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("This is not a proxy")
        if self.parser.should_upgrade():
            return
        if self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # RFC 9110, section 10.1.1
        self._in_headers = False
        self._stop_awaiting_headers()
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """Begins a chunk."""
        self._overhead -= _CHUNK_FRAMING_BYTES

    def on_body(self, body: bytes) -> None:
        """Takes a piece of a body."""
        self._overhead -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Ends the body of a request."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Goes on to the next request, or ends the connection."""
        if self._last_answer and not self.transport.is_closing():
            self._linger()
        else:
            super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cleans up."""
        self._all.discard(self)
        self._stop_awaiting_headers()
        if self._lingering is not None:
            self._lingering.cancel()
        super().connection_lost(exc)

    def close_if_idle(self) -> None:
        """Closes the connection unless a request is under way, or has been answered just now."""
        if not self.busy and self._lingering is None:
            self.transport.close()

    def shutdown(self) -> None:
        """Ends after the answer under way; uvicorn calls it when it has stopped to listen."""
        if self._lingering is None:
            super().shutdown()
        else:
            self._lingering.cancel()
            self._lingering = self.loop.call_later(_LAST_LINGER_S, self.transport.close)

    def _parse(self, data: memoryview) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as switch:
                head = self._head_without_upgrade()
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.parser.feed_data(head)
                data = data[switch.args[0] :]
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            kept = value
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                kept = b", ".join(token for token in tokens if token.lower() not in _SWITCHING)
            if name not in _SWITCHING:
                lines.append(b"%b: %b" % (name, kept))
        return b"\r\n".join((*lines, b"", b""))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        async def answer(scope: Any, receive: Any, send: Any) -> None:
            async def noted_send(message: Any) -> None:
                first = message["type"] == "http.response.start"
                if first and (cycle.more_body or self._last_answer or self._all.ending):
                    self._last_answer = True
                    cycle.keep_alive = False  # Makes uvicorn write the header.
                await send(message)
                if first and self._last_answer:
                    cycle.keep_alive = True  # uvicorn would close at the end of the answer; see `_linger`.

            await app(scope, receive, noted_send)

        super()._start_asgi_task(cycle, answer)

    def _await_headers(self) -> None:
        if self._headers_due is None:
            self._headers_due = self.loop.call_later(self._all.header_timeout_s, self._refuse_late_headers)

    def _stop_awaiting_headers(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _refuse_late_headers(self) -> None:
        if self.busy:
            self._end_after_answer()
        elif not self._in_headers:
            self.transport.close()
        else:
            message = (
                f"The headers did not come whole within {self._all.header_timeout_s:g} s. Send them without pauses."
            )
            self._all.count_refusal("headers_late")
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, _plain("request_timeout", message))

    def _refuse_overhead(self) -> None:
        if self.busy:
            self._refuse_malformed()
            return
        message = f"The headers have more than {MAX_HEADER_BYTES} bytes. Send shorter ones."
        self._all.count_refusal("headers_too_large")
        body = _plain("request_headers_too_large", message)
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, body)

    def _refuse_malformed(self) -> None:
        """Answers 400 to what is not HTTP, unless it would be taken for the answer to an earlier request."""
        self._all.count_refusal("malformed")
        cycle = self.cycle
        if self.busy and not cycle.more_body:
            self._end_after_answer()
        elif self.busy and (cycle.response_started or self.pipeline):
            self.transport.close()
        else:
            if self.busy:
                cycle.disconnected = True
                cycle.message_event.set()
            body = _plain("malformed_request", "This is not a valid HTTP/1.1 request.")
            self._refuse(HTTPStatus.BAD_REQUEST, body)

    def _end_after_answer(self) -> None:
        """Reads no further; whole requests that came before are answered."""
        self._parser_failed = self._last_answer = True

    def _refuse(self, status: HTTPStatus, error: ErrorBody, more: Mapping[str, str] = MappingProxyType({})) -> None:
        """Answers in the place of the application, and ends the connection."""
        body = error.model_dump_json().encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *((name.lower().encode(), value.encode()) for name, value in more.items()),
        ]
        lines = [b"%b: %b\r\n" % header for header in headers]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        self._linger()

    def _linger(self) -> None:
        """Ends the sending side, and reads on until the client closes, so that it gets its answer."""
        self._unset_keepalive_if_required()
        self._stop_awaiting_headers()
        self._linger_end = self.loop.time() + LINGER_S
        self._lingering = self.loop.call_later(LINGER_PAUSE_S, self._linger_on)
        self.flow.resume_reading()
        self.transport.write_eof()

    def _linger_on(self) -> None:
        if self._still_sending and self.loop.time() < self._linger_end:
            self._still_sending = False
            self._lingering = self.loop.call_later(LINGER_PAUSE_S, self._linger_on)
        else:
            self.transport.abort()


def _plain(code: str, message: str) -> ErrorBody:
    return plain_error_body(code, message, uuid.uuid4().hex)


def serve_connections(connections: Connections) -> None:
    """Serves the connections of this process with `Connection`.

    Args:
        connections: Where they all are.
    """
    serve_connections_with(partial(Connection, connections))
