"""The standard health service, tied to the engine's readiness."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from brainmri.batching.engine import Engine
from brainmri.batching.slots import Slots
from brainmri.errors import Overloaded
from brainmri.open_inference.grpc_service import SERVICE_NAME
from brainmri.open_inference.grpc_status import code_of, details_of
from brainmri.open_inference.models import served_models

HEALTH_SERVICE_NAME = str(health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)

_POLL_S = 0.1

_Status = health_pb2.HealthCheckResponse


class Health:
    """Answers `Check` from the server's state at that moment, and keeps `Watch` informed of changes.

    Known services are the server as a whole (the empty name), the inference service, and each served model. gRPC's
    own servicer is not used: when one of two watchers of a service leaves, the other one hears nothing more.

    Args:
        engine: Whose readiness is told.
        streams: Where each `Watch` takes its slot.
    """

    def __init__(self, engine: Engine, streams: Slots) -> None:
        self._engine = engine
        self._streams = streams
        self._draining = False
        self._known = {"", SERVICE_NAME}
        self._changed = asyncio.Condition()
        self._watching: asyncio.Task[None] | None = None

    def handlers(self) -> Any:
        """Returns gRPC's table of the methods."""
        table = {
            "Check": grpc.unary_unary_rpc_method_handler(
                self._check, health_pb2.HealthCheckRequest.FromString, _Status.SerializeToString
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                self._watch, health_pb2.HealthCheckRequest.FromString, _Status.SerializeToString
            ),
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

    async def _check(self, message: Any, context: Any) -> Any:
        status = self._status(message.service)
        if status == _Status.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"No service {message.service[:80]!r} is served.")
        return _Status(status=status)

    async def _watch(self, message: Any, context: Any) -> AsyncIterator[Any]:
        try:
            with self._streams.one(context.peer()):
                async for status in self._statuses(message.service):
                    yield _Status(status=status)
        except Overloaded as error:
            await context.abort(code_of(error), error.message, tuple(details_of(error)))

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
