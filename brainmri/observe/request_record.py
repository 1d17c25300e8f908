"""What is known about one request, whichever protocol brought it: for its line in the log and its span."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from brainmri.observe.tracing import caller_trace_id, process_tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from brainmri.errors import BrainMRIError
    from brainmri.observe.subjects import AnsweredImage

Protocol = Literal["http", "open_inference_rest", "grpc"]

current_record: ContextVar[RequestRecord | None] = ContextVar("current_record", default=None)
"""The request that is being answered, for the ids on log lines; everything else is given the record."""

_PROBES = ("/ServerLive", "/ServerReady", "/ModelReady")
_PROBE_SERVICES = ("grpc.health.", "grpc.reflection.")

_access = logging.getLogger("brainmri.access")


@dataclass
class RequestRecord:
    """One request, filled in as it is answered.

    Attributes:
        protocol: Which interface it came by.
        request_id: Given by the caller, or made.
        trace_id: Of its span, or else of the caller's; 32 hexadecimal digits.
        method: HTTP method; empty for gRPC.
        route: Template of the route, or gRPC method; never the path itself.
        key_name: Whose API key it carried.
        model: `name:version` of the model that answered.
        images: How many images were answered.
        timings_ms: Stage to milliseconds, of the image that took longest.
        status: HTTP status, or name of the gRPC code.
        error: What was answered in place of a result.
        received_bytes: Size of the body.
        sent_bytes: Size of the answer's body.
        begun_s: `time.perf_counter` at its arrival.
    """

    protocol: Protocol
    request_id: str
    trace_id: str | None = None
    method: str = ""
    route: str = ""
    key_name: str | None = None
    model: str | None = None
    images: int = 0
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    status: int | str = 0
    error: BrainMRIError | None = None
    received_bytes: int = 0
    sent_bytes: int = 0
    begun_s: float = field(default_factory=time.perf_counter)
    _answered_ns: int = 0
    _span: Span | None = None

    @classmethod
    @contextmanager
    def opened(
        cls, protocol: Protocol, request_id: str, traceparent: str = "", tracestate: str = "", method: str = ""
    ) -> Iterator[RequestRecord]:
        """Makes a record, and its span where traces are wanted, and makes it the current one.

        Args:
            protocol: Which interface the request came by.
            request_id: Given by the caller, or made.
            traceparent: The caller's W3C trace context, if it sent one.
            tracestate: Its vendors' part of that context.
            method: HTTP method.
        """
        record = cls(protocol, request_id, method=method)
        if (tracing := process_tracing()) is not None:
            record._span = tracing.open_span(protocol, {"traceparent": traceparent, "tracestate": tracestate})
            record.trace_id = format(record._span.get_span_context().trace_id, "032x")
        elif traceparent:
            record.trace_id = caller_trace_id(traceparent)
        token = current_record.set(record)
        try:
            yield record
        finally:
            current_record.reset(token)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the request arrived."""
        return time.perf_counter() - self.begun_s

    def note(self, prediction: AnsweredImage) -> None:
        """Adds one answered image."""
        self.model = f"{prediction.model.name}:{prediction.model.version}"
        self.images += 1
        if prediction.timings_ms["total"] >= self.timings_ms.get("total", 0):
            self.timings_ms = prediction.timings_ms
            self._answered_ns = time.time_ns()

    def close(self, status: int | str, *, failed: bool) -> None:
        """Writes the line in the log, and the span; neither for a probe over gRPC.

        Args:
            status: HTTP status, or name of the gRPC code.
            failed: Whether the fault is the server's.
        """
        self.status = status
        if self.protocol == "grpc" and is_rpc_probe(self.route):
            return
        name = f"{self.method} {self.route}".strip()
        if _access.isEnabledFor(logging.INFO):
            _access.info(name, extra={"fields": self._fields()})
        if self._span is not None and (tracing := process_tracing()) is not None:
            attributes = self._attributes()
            tracing.close_span(self._span, name, attributes, self.timings_ms, self._answered_ns, failed=failed)

    def _fields(self) -> dict[str, object]:
        fields = {
            "protocol": self.protocol,
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "error": None if self.error is None else self.error.code,
            "key": self.key_name,
            "model": self.model,
            "images": self.images,
            "received_bytes": self.received_bytes,
            "sent_bytes": self.sent_bytes,
            "duration_ms": round(self.elapsed_s * 1e3, 3),
            "stages_ms": {stage: round(value, 3) for stage, value in self.timings_ms.items()},
        }
        return {name: value for name, value in fields.items() if value not in (None, "", {})}

    def _attributes(self) -> dict[str, str | int]:
        """The names are OpenTelemetry's semantic conventions, as far as those go."""
        if self.protocol == "grpc":
            call: dict[str, str | int] = {"rpc.system.name": "grpc", "rpc.method": self.route}
            call["rpc.response.status_code"] = self.status
        else:
            call = {
                "http.request.method": self.method,
                "http.route": self.route,
                "http.response.status_code": self.status,
            }
        ours: dict[str, str | int | None] = {
            "error.type": None if self.error is None else self.error.code,
            "brainmri.request_id": self.request_id,
            "brainmri.model": self.model,
            "brainmri.images": self.images,
        }
        return {**call, **{name: value for name, value in ours.items() if value is not None}}


def is_rpc_probe(method: str) -> bool:
    """Tells whether a gRPC method, without a leading slash, only asks how or what the service is."""
    return method.startswith(_PROBE_SERVICES) or method.endswith(_PROBES)
