"""A collector of traces on loopback: keeps the spans that OTLP over HTTP brings."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Span:
    """One span, as it was sent."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    begin_ns: int
    end_ns: int
    failed: bool
    attributes: dict[str, Any]


@dataclass
class Collector:
    """What has come so far.

    Attributes:
        url: Its address, for OTEL_EXPORTER_OTLP_ENDPOINT.
        resource: Attributes of whoever sent last.
        headers: Of the last request, names in lower case.
    """

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    resource: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    arrived: threading.Event = field(default_factory=threading.Event)

    def take(self, data: bytes) -> None:
        """Keeps the spans of one request."""
        for sent in ExportTraceServiceRequest.FromString(data).resource_spans:
            self.resource = _attributes(sent.resource.attributes)
            self.spans += [_span(span) for scope in sent.scope_spans for span in scope.spans]

    def of_trace(self, trace_id: str) -> dict[str, Span]:
        """Returns the spans of one trace by name."""
        return {span.name: span for span in list(self.spans) if span.trace_id == trace_id}


def _span(span: Any) -> Span:
    return Span(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == span.status.STATUS_CODE_ERROR,
        _attributes(span.attributes),
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def collecting(held: threading.Event | None = None) -> Iterator[Collector]:
    """Runs a collector; it answers only once `held` is set, if one is given."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            collector.headers = {name.lower(): value for name, value in self.headers.items()}
            collector.arrived.set()
            if held is not None:
                held.wait(60)
            if self.path == "/v1/traces":
                collector.take(data)
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
