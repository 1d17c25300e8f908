"""The gRPC server: the Open Inference Protocol, the standard health service and reflection."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from brainmri.batching.admission import Admission
from brainmri.batching.call import Deadline
from brainmri.batching.engine import Engine
from brainmri.batching.turns import Turns
from brainmri.errors import BrainMRIError, DeadlineExceeded, InvalidSettings, MalformedRequest, Overloaded
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.dataplane import DataPlane
from brainmri.open_inference.grpc_call import AdmittedHandlers, Shared, abort
from brainmri.open_inference.grpc_messages import LOOKAHEAD_BYTES, receive
from brainmri.open_inference.grpc_service import SERVICE_NAME, refusals, rpc_handlers
from brainmri.open_inference.models import served_models
from brainmri.web.auth import KeyRing

REFLECTION_NAMES = ("grpc.reflection.v1.ServerReflection", str(reflection.SERVICE_NAME))

HEALTH_SERVICE_NAME = str(health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)

_POLL_S = 0.1

_Status = health_pb2.HealthCheckResponse

MAX_CONNECTION_AGE_S = 300.0
"""After it a client is asked to connect again, so that new replicas get their share of long-lived clients."""

KEEPALIVE_TIME_S = 60
"""Silence after which a client is asked whether it is still there."""

KEEPALIVE_TIMEOUT_S = 20
"""How long its answer may take."""

MIN_CLIENT_PING_INTERVAL_S = 10
"""Clients that ping more often while no call is under way are disconnected."""

_REFUSALS = 256
"""Calls beyond the limit that are being refused; gRPC itself refuses more, without details."""

_LINGER_S = 1.0
"""What open streams (a reflection client at its prompt) are given, twice, once every call is answered."""


def reflection_handlers(services: Sequence[str], admission: Admission, max_time_s: float) -> tuple[Any, ...]:
    """Returns gRPC's tables of the methods.

    Args:
        services: Full names of the services to tell about, beside reflection itself.
        admission: Where each stream takes its slot, and each message its turn.
        max_time_s: Longest time in which a message may arrive, in seconds; a stream without one ends.
    """
    _describe_v1()
    servicer = reflection.aio.ReflectionServicer((*services, *REFLECTION_NAMES))

    async def inform(_messages: Any, context: Any) -> AsyncIterator[Any]:
        requests = _requests(context, admission.other_messages, max_time_s)
        try:
            with admission.waiting_streams.one(context.peer()):
                async for answer in servicer.ServerReflectionInfo(requests, context):
                    yield answer
        except BrainMRIError as error:
            await abort(context, error)

    # Both versions have the same messages but for the package's name, which does not travel.
    method = grpc.stream_stream_rpc_method_handler(
        inform, None, reflection_pb2.ServerReflectionResponse.SerializeToString
    )
    table = {"ServerReflectionInfo": method}
    return tuple(grpc.method_handlers_generic_handler(name, table) for name in REFLECTION_NAMES)


async def _requests(context: Any, turns: Turns, max_time_s: float) -> AsyncIterator[Any]:
    """Yields the requests of one stream; after an answer, the next may come until others want the turn."""
    answered = False
    while True:
        try:
            data = await receive(context, turns, Deadline.after(max_time_s))
        except (Overloaded, DeadlineExceeded):
            if answered:
                return
            raise
        if data is None:
            return
        try:
            yield reflection_pb2.ServerReflectionRequest.FromString(data)
        except DecodeError as error:
            raise MalformedRequest("The message is not the protobuf of a ServerReflectionRequest.") from error
        answered = True


def _describe_v1() -> None:
    """Adds the description of `v1`, which grpcio-reflection does not carry, to those that reflection answers from."""
    pool = descriptor_pool.Default()
    try:
        pool.FindFileContainingSymbol(REFLECTION_NAMES[0])
    except KeyError:
        alpha, v1 = descriptor_pb2.FileDescriptorProto(), descriptor_pb2.FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
        text_format.Parse(text_format.MessageToString(alpha).replace("v1alpha", "v1"), v1)
        pool.Add(v1)


class Health:
    """Answers `Check` from the server's state at that moment, and keeps `Watch` informed of changes.

    Known services are the server as a whole (the empty name), the inference service, and each served model. gRPC's
    own servicer is not used: when one of two watchers of a service leaves, the other one hears nothing more.

    Args:
        engine: Whose readiness is told.
        admission: Where each `Watch` takes its slot, and each message its turn.
        max_time_s: Longest time in which a message may arrive, in seconds.
    """

    def __init__(self, engine: Engine, admission: Admission, max_time_s: float) -> None:
        self._engine = engine
        self._admission = admission
        self._max_time_s = max_time_s
        self._draining = False
        self._known = {"", SERVICE_NAME}
        self._changed = asyncio.Condition()
        self._watching: asyncio.Task[None] | None = None

    def handlers(self) -> Any:
        """Returns gRPC's table of the methods."""
        table = {
            "Check": grpc.stream_unary_rpc_method_handler(self._check, None, _Status.SerializeToString),
            "Watch": grpc.stream_stream_rpc_method_handler(self._watch, None, _Status.SerializeToString),
        }
        return grpc.method_handlers_generic_handler(HEALTH_SERVICE_NAME, table)

    def start(self) -> None:
        """Begins to look for changes."""
        self._watching = asyncio.create_task(self._notify_of_changes())

    async def drain(self) -> None:
        """Says NOT_SERVING from now on, and ends the streams of those who watch."""
        self._draining = True
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        async with self._changed:
            self._changed.notify_all()

    def _status(self, service: str) -> int:
        served = {model.name for model in served_models(self._engine)}
        self._known |= served
        if service in {"", SERVICE_NAME, *served} and self._engine.server_ready and not self._draining:
            return int(_Status.SERVING)
        # Before the first model is loaded, no name is known to be wrong.
        unsure = service in self._known or not served
        return int(_Status.NOT_SERVING if unsure else _Status.SERVICE_UNKNOWN)

    async def _service(self, context: Any) -> str:
        """Returns which service a call asks about."""
        data = await receive(context, self._admission.other_messages, Deadline.after(self._max_time_s))
        try:
            return str(health_pb2.HealthCheckRequest.FromString(data or b"").service)
        except DecodeError as error:
            raise MalformedRequest("The message is not the protobuf of a HealthCheckRequest.") from error

    async def _check(self, _messages: Any, context: Any) -> Any:
        try:
            service = await self._service(context)
        except BrainMRIError as error:
            await abort(context, error)
        status = self._status(service)
        if status == _Status.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"No service {service[:80]!r} is served.")
        return _Status(status=status)

    async def _watch(self, _messages: Any, context: Any) -> AsyncIterator[Any]:
        try:
            with self._admission.waiting_streams.one(context.peer()):
                async for status in self._statuses(await self._service(context)):
                    yield _Status(status=status)
        except BrainMRIError as error:
            await abort(context, error)

    async def _statuses(self, service: str) -> AsyncIterator[int]:
        """Yields the status now and after every change, until the server ends."""
        told = None
        while True:
            status = self._status(service)
            if status != told:
                yield status
                told = status
            elif self._draining:
                return
            else:
                async with self._changed:
                    await self._changed.wait()

    async def _notify_of_changes(self) -> None:
        seen = None
        while True:
            state = (self._engine.server_ready, self._engine.models.all())
            if state != seen:
                seen = state
                async with self._changed:
                    self._changed.notify_all()
            await asyncio.sleep(_POLL_S)


class GrpcServer:
    """Serves the Open Inference Protocol, health and reflection.

    A message may have `max_request_bytes` in both directions; gRPC itself refuses a larger one with
    RESOURCE_EXHAUSTED. Health, liveness, readiness and reflection need no API key: the first three for those who
    restart and balance, reflection because it tells only what is published anyway.

    Args:
        plane: What answers inferences, over REST too; its settings hold address and limits, port 0 switches the server
            off.
        metrics: The metrics of this process.
        keys: Who may call; anybody if None.
        max_connection_age_s: See `MAX_CONNECTION_AGE_S`.
    """

    def __init__(
        self,
        plane: DataPlane,
        metrics: Metrics,
        keys: KeyRing | None = None,
        *,
        max_connection_age_s: float = MAX_CONNECTION_AGE_S,
    ) -> None:
        self._plane = plane
        self._metrics = metrics
        self._settings = plane.settings
        self._keys = keys
        self._max_connection_age_s = max_connection_age_s
        self._server: Any = None
        self._health: Health | None = None

    @property
    def port(self) -> int:
        """TCP port; 0 when the server is switched off."""
        return self._settings.grpc_port

    async def start(self) -> None:
        """Listens; answers UNAVAILABLE until the engine is ready.

        Raises:
            InvalidSettings: The port cannot be opened.
        """
        if not self.port:
            return
        plane, admission = self._plane, self._plane.admission
        max_time_s = self._settings.request_timeout_s
        self._health = Health(plane.engine, admission, max_time_s)
        most = admission.limits.rpcs + _REFUSALS
        self._server = grpc.aio.server(options=self._options(), maximum_concurrent_rpcs=most)
        methods = rpc_handlers(plane, Shared(self._metrics, admission, max_time_s, self._keys))
        reflection = reflection_handlers((SERVICE_NAME, HEALTH_SERVICE_NAME), admission, max_time_s)
        others = (refusals(methods), self._health.handlers(), *reflection)
        self._server.add_generic_rpc_handlers((AdmittedHandlers(methods, others, admission),))
        self._listen()
        await self._server.start()
        self._health.start()

    async def drain(self, grace_s: float) -> None:
        """Stops: NOT_SERVING at once, calls under way are answered, then connections are closed.

        Args:
            grace_s: Longest time for all of it, in seconds; calls that take longer are cut off.
        """
        if self._server is None or self._health is None:
            return
        await self._health.drain()
        end = asyncio.get_running_loop().time() + grace_s
        stopping = asyncio.ensure_future(self._server.stop(grace_s))
        # Twice: a message that was on its way in may become a call while answers are on their way out.
        for _ in range(2):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(end):
                    await self._plane.admission.rpcs.wait_until_none()
            # Streams are cut off after a moment, not at once; and never just when the grace ends, where `stopping`
            # cuts them off itself: two stops at one instant crash grpcio 1.85.
            await asyncio.wait((stopping,), timeout=_LINGER_S)
        await self._server.stop(None)
        await stopping

    def _listen(self) -> None:
        host = self._settings.grpc_host
        address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        try:
            self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise InvalidSettings(
                f"The gRPC interface cannot listen on {address}. Is another server running there? Set"
                " BRAINMRI_GRPC_PORT to a free port, or to 0 for no gRPC."
            ) from error

    def _options(self) -> list[tuple[str, int]]:
        settings = self._settings
        return [
            ("grpc.max_receive_message_length", settings.max_request_bytes),
            ("grpc.max_send_message_length", settings.max_request_bytes),
            ("grpc.http2.lookahead_bytes", LOOKAHEAD_BYTES),
            # On by default, and then the lookahead grows with the pace of the connection.
            ("grpc.http2.bdp_probe", 0),
            ("grpc.max_allowed_incoming_connections", settings.max_connections),
            # Two minutes by default, which a connection that says nothing would count among them.
            ("grpc.server_handshake_timeout_ms", round(settings.header_timeout_s * 1e3)),
            # On by default, and then two servers silently share a port, also by mistake.
            ("grpc.so_reuseport", int(settings.workers > 1)),
            ("grpc.max_connection_age_ms", round(self._max_connection_age_s * 1e3)),
            # Calls under way when a connection has come of age are answered on it.
            ("grpc.max_connection_age_grace_ms", round((settings.request_timeout_s + _LINGER_S) * 1e3)),
            ("grpc.keepalive_time_ms", KEEPALIVE_TIME_S * 1000),
            ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_S * 1000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", MIN_CLIENT_PING_INTERVAL_S * 1000),
        ]
