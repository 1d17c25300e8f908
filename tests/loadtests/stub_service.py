"""A service of a few lines that answers as the real one does, or wrongly on purpose."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

LABELS = ("glioma", "meningioma", "notumor", "pituitary")

Fault = Callable[[dict[str, Any]], tuple[int, dict[str, str], bytes]]
"""Makes status, headers and body out of the right body."""


def answer_with(status: int = 200, headers: dict[str, str] | None = None, **changes: Any) -> Fault:
    """Returns a fault that changes the status, headers, or fields of the body."""
    return lambda body: (status, headers or {}, json.dumps({**body, **changes}).encode())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        described = {"name": "stub", "version": "1", "runtime": "none", "labels": LABELS, "serving_name": "brain_mri"}
        self._send(200, {}, json.dumps(described).encode())

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        body = _prediction(sent, self.headers["X-Request-Id"])
        server = self.server
        assert isinstance(server, StubService)
        fault = server.next_fault()
        self._send(*(fault(body) if fault else (200, {}, json.dumps(body).encode())))

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        given = self.headers.get("X-Request-Id")
        for name, value in {"X-Request-Id": given, "Content-Length": str(len(body)), **headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Is silent."""


def _prediction(sent: bytes, request_id: str) -> dict[str, Any]:
    # Another image, another answer: of the length of the file.
    share = 0.4 + len(re.sub(rb"filename=.*", b"", sent)) % 50 / 100
    rest = (1 - share) / 3
    return {
        "label": "glioma",
        "confidence": share,
        "probabilities": dict(zip(LABELS, (share, rest, rest, rest), strict=True)),
        "verdict": "glioma",
        "model": {"name": "stub", "version": "1", "runtime": "none"},
        "request_id": request_id,
    }


class StubService(ThreadingHTTPServer):
    """Listens on a free port of the loopback address.

    Args:
        faults: Done in turn to the answers that follow the first ones; None answers rightly.
        good_first: How many answers are right before.
    """

    daemon_threads = True

    def __init__(self, faults: list[Fault | None], good_first: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._faults = faults
        self._lock = Lock()
        self.posts = -good_first

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_fault(self) -> Fault | None:
        with self._lock:
            number, self.posts = self.posts, self.posts + 1
        return self._faults[number % len(self._faults)] if number >= 0 else None


@contextmanager
def stub_service(faults: list[Fault | None], good_first: int = 0) -> Iterator[StubService]:
    """A running stub for the duration of a `with` block; arguments as of `StubService`."""
    with StubService(faults, good_first) as service:
        thread = Thread(target=service.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield service
        finally:
            service.shutdown()
            thread.join()
