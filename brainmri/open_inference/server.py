"""The gRPC server: one event loop, process and engine with the HTTP interface."""

import asyncio
import contextlib
from typing import Any

import grpc

from brainmri.errors import InvalidSettings
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.dataplane import DataPlane
from brainmri.open_inference.grpc_admission import AdmittedHandlers
from brainmri.open_inference.grpc_call import Shared
from brainmri.open_inference.grpc_health import HEALTH_SERVICE_NAME, Health
from brainmri.open_inference.grpc_reflection import reflection_handlers
from brainmri.open_inference.grpc_service import SERVICE_NAME, refusals, rpc_handlers
from brainmri.web.auth import KeyRing

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
        self._health = Health(plane.engine, admission.waiting_streams)
        most = admission.limits.rpcs + _REFUSALS
        self._server = grpc.aio.server(options=self._options(), maximum_concurrent_rpcs=most)
        methods = rpc_handlers(plane, Shared(self._metrics, admission, self._settings.request_timeout_s, self._keys))
        reflection = reflection_handlers((SERVICE_NAME, HEALTH_SERVICE_NAME), admission.waiting_streams)
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
