"""What every RPC goes through around its method: id, trace, key, deadline, place, status, count, line in the log."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from brainmri.batching.deadline import Deadline
from brainmri.errors import BrainMRIError, MalformedRequest
from brainmri.observe.metrics import Metrics
from brainmri.observe.request_record import RequestRecord
from brainmri.open_inference.dataplane import DataPlane
from brainmri.open_inference.grpc_status import code_of, details_of
from brainmri.web.auth import KeyRing, presented_key
from brainmri.web.memory import BodyMemory
from brainmri.web.middleware import sane_request_id

REQUEST_ID = "x-request-id"

_SERVERS_FAULT = ("INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED")
_UNEXPECTED = "The server failed unexpectedly. Try again; if it stays, report the request id."

_logger = logging.getLogger(__name__)


class Rpc:
    """One call under way.

    Args:
        context: gRPC's view of it.
        max_time_s: Longest time that the server gives a call, in seconds.

    Attributes:
        context: The same.
        metadata: What the client sent beside its message; keys are lower case.
        request_id: The client's, if it is sane, or else a new one.
        deadline: When the client stops waiting, but no later than the server lets a call take.
        record: What is noted about the call, once it has been opened.
    """

    # Plain attributes: a cached_property takes a lock, and there would be three on every call.
    __slots__ = ("context", "deadline", "metadata", "record", "request_id")

    def __init__(self, context: Any, max_time_s: float) -> None:
        self.context = context
        self.metadata: dict[str, str] = dict(context.invocation_metadata() or ())
        self.request_id = sane_request_id(self.metadata.get(REQUEST_ID, ""))
        self.record: RequestRecord | None = None
        remaining_s = context.time_remaining()
        self.deadline = Deadline.after(max_time_s if remaining_s is None else min(remaining_s, max_time_s))

    def recorded(self) -> AbstractContextManager[RequestRecord]:
        """Opens the record of this call, and its span below the caller's."""
        trace = self.metadata.get("traceparent", ""), self.metadata.get("tracestate", "")
        return RequestRecord.opened("grpc", self.request_id, *trace)


Method = Callable[[Any, Rpc], Awaitable[Any]]
"""Answers a message; raises `BrainMRIError`."""

RawMethod = Callable[[bytes, Rpc], Awaitable[Any]]
"""The same for a message that has not been parsed: whoever has neither key nor place costs no more than its bytes."""


def with_parsing(method: Method, message_class: Any) -> RawMethod:
    """Parses the message, as the last step before the method."""

    async def intercepted(data: bytes, rpc: Rpc) -> Any:
        try:
            message = message_class.FromString(data)
        except DecodeError as error:
            raise MalformedRequest("The message is not the protobuf of this method's request.") from error
        return await method(message, rpc)

    return intercepted


def with_key(method: RawMethod, keys: KeyRing) -> RawMethod:
    """Refuses calls without a known API key."""

    async def intercepted(data: bytes, rpc: Rpc) -> Any:
        name = keys.check(presented_key(rpc.metadata.get("authorization"), rpc.metadata.get("x-api-key")))
        if rpc.record is not None:
            rpc.record.key_name = name
        return await method(data, rpc)

    return intercepted


def with_memory(method: RawMethod, memory: BodyMemory) -> RawMethod:
    """Refuses calls whose message does not fit beside the bodies of the requests under way."""

    async def intercepted(data: bytes, rpc: Rpc) -> Any:
        with memory.share() as share:
            share.add(len(data))
            return await method(data, rpc)

    return intercepted


def with_place(method: RawMethod, plane: DataPlane) -> RawMethod:
    """Refuses calls beyond the number that may be under way over gRPC."""

    async def intercepted(data: bytes, rpc: Rpc) -> Any:
        with plane.slot():
            return await method(data, rpc)

    return intercepted


class InFlight:
    """Counts the calls that have been accepted and not answered yet."""

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self) -> None:
        """One call more."""
        self._count += 1
        self._idle.clear()

    def leave(self) -> None:
        """One call less."""
        self._count -= 1
        if not self._count:
            self._idle.set()

    async def wait_until_none(self) -> None:
        """Returns when there is none."""
        await self._idle.wait()


@dataclass(frozen=True)
class Surroundings:
    """What all calls share: what counts them, those under way, the longest time of one in seconds, their memory."""

    metrics: Metrics
    in_flight: InFlight
    max_time_s: float
    memory: BodyMemory


class RpcHandler:
    """One method as gRPC calls it, with serialised messages.

    Interceptors are composed once, when the server starts, and not with `grpc.aio.ServerInterceptor`, which runs a
    coroutine for each of them on every call.

    Args:
        name: Full name, such as `inference.GRPCInferenceService/ModelInfer`.
        method: What answers.
        surroundings: What all calls share.
    """

    def __init__(self, name: str, method: RawMethod, surroundings: Surroundings) -> None:
        self._name = name
        self._method = method
        self._around = surroundings

    async def handle(self, data: bytes, context: Any) -> bytes:
        """Answers one call, or aborts it with the status of its error."""
        rpc = Rpc(context, self._around.max_time_s)
        self._around.in_flight.enter()
        try:
            with rpc.recorded() as record:
                rpc.record = record
                record.route, record.received_bytes = self._name, len(data)
                return await self._answer(rpc, record, data)
        finally:
            self._around.in_flight.leave()

    async def _answer(self, rpc: Rpc, record: RequestRecord, data: bytes) -> bytes:
        code = "CANCELLED"
        try:
            answer: bytes = (await self._method(data, rpc)).SerializeToString()
            code, record.sent_bytes = "OK", len(answer)
        except BrainMRIError as error:
            code, record.error = code_of(error).name, error
            self._around.metrics.count_error(error)
            await _abort(rpc, error)
        except Exception:
            code, record.error = "INTERNAL", BrainMRIError(_UNEXPECTED)
            _logger.exception("Unexpected error")
            await _abort(rpc, record.error)
        finally:
            self._around.metrics.count_rpc(self._name, code, record.elapsed_s, record.trace_id)
            record.close(code, failed=code in _SERVERS_FAULT)
        rpc.context.set_trailing_metadata(((REQUEST_ID, rpc.request_id),))
        return answer


async def _abort(rpc: Rpc, error: BrainMRIError) -> None:
    """Raises what makes gRPC answer with the error's status."""
    await rpc.context.abort(code_of(error), error.message, ((REQUEST_ID, rpc.request_id), *details_of(error)))
