"""OpenTelemetry spans over OTLP, when the standard `OTEL_*` environment names a collector; nothing otherwise.

A request's span is opened when it arrives and closed with everything else that is known at its end. The spans of its
stages are written then too, from the times that the answer carries, so the way of an image pays nothing for them.
"""

from __future__ import annotations

import functools
import math
import os
import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from brainmri import __version__
from brainmri.errors import InvalidSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

STAGES = ("decode", "queue", "inference")
CLOSE_S = 5.0

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def configured() -> bool:
    """Tells whether the environment asks for traces.

    Raises:
        InvalidSettings: It asks for a protocol that this project does not carry.
    """
    environ = os.environ
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    if not any(environ.get(name) for name in _ENDPOINTS):
        return False
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        raise InvalidSettings(
            f"Traces are sent over http/protobuf, not {protocol!r}. Change OTEL_EXPORTER_OTLP_PROTOCOL and the"
            " endpoint's port (4318 by convention)."
        )
    return True


class Tracing:
    """Makes spans and sends them from a thread of its own.

    Endpoint, headers, sampling, time-outs and resource attributes come from the standard environment variables, see
    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
    """

    def __init__(self) -> None:
        # Imported only where traces are wanted: 60 ms and 10 MB.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "brainmri"}
        resource = Resource.create({**named, "service.version": __version__})
        self._provider: TracerProvider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("brainmri", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def open_span(self, name: str, carrier: Mapping[str, str]) -> Span:
        """Opens the span of a request; one that is never closed is not sent.

        Args:
            name: What is called, as far as it is known.
            carrier: `traceparent` and `tracestate`, if the caller sent them.
        """
        from opentelemetry.trace import SpanKind  # noqa: PLC0415

        return self._tracer.start_span(name, self._propagator.extract(carrier), SpanKind.SERVER)

    def close_span(
        self,
        span: Span,
        name: str,
        attributes: Mapping[str, str | int],
        stages_ms: Mapping[str, float],
        end_ns: int,
        *,
        failed: bool,
    ) -> None:
        """Closes the span of a request and writes those of its stages below it.

        Args:
            span: From `open_span`.
            name: Such as `POST /predict`.
            attributes: What is known about the request.
            stages_ms: Stage to milliseconds, of the image that took longest.
            end_ns: When that image was answered, `time.time_ns`.
            failed: Whether the fault is the server's.
        """
        from opentelemetry.trace import StatusCode, set_span_in_context  # noqa: PLC0415

        if span.is_recording():
            context = set_span_in_context(span)
            begin_ns = end_ns - int(sum(stages_ms.get(stage, 0) for stage in STAGES) * 1e6)
            for stage in STAGES:
                if stage in stages_ms:
                    done_ns = begin_ns + int(stages_ms[stage] * 1e6)
                    self._tracer.start_span(stage, context, start_time=begin_ns).end(done_ns)
                    begin_ns = done_ns
            span.update_name(name)
            span.set_attributes(attributes)
            if failed:
                span.set_status(StatusCode.ERROR)
        span.end()

    def close(self, within_s: float = math.inf) -> None:
        """Sends what is left, for `CLOSE_S` at most; without a collector the exporter would try for longer.

        Args:
            within_s: The most time that there is, in seconds.
        """
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(min(CLOSE_S, within_s))


@functools.cache
def process_tracing() -> Tracing | None:
    """Returns what traces in this process, made on first use; None when the environment asks for no traces.

    Raises:
        InvalidSettings: The environment asks for a protocol that this project does not carry.
    """
    return Tracing() if configured() else None


def caller_trace_id(traceparent: str) -> str | None:
    """Returns the trace id in a W3C `traceparent` header, 32 hexadecimal digits; None if there is none."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found and found[1]
