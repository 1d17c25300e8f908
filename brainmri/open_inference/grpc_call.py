"""What every RPC goes through around its method: id, trace, key, deadline, memory, status, count, line in the log."""

import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from brainmri.batching.admission import Admission, Admitted, Work
from brainmri.batching.deadline import Deadline
from brainmri.errors import BrainMRIError, MalformedRequest
from brainmri.observe.metrics import Metrics
from brainmri.observe.request_record import RequestRecord
from brainmri.open_inference.grpc_status import code_of, details_of
from brainmri.web.auth import KeyRing, presented_key
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
        admitted: What it holds; None for a call that was not let in.

    Attributes:
        context: The same.
        metadata: What the client sent beside its message; keys are lower case.
        request_id: The client's, if it is sane, or else a new one.
        deadline: When the client stops waiting, but no later than the server lets a call take.
        record: What is noted about the call, once it has been opened.
        admitted: The same.
    """

    # Plain attributes: a cached_property takes a lock, and there would be three on every call.
    __slots__ = ("admitted", "context", "deadline", "metadata", "record", "request_id")

    def __init__(self, context: Any, max_time_s: float, admitted: Admitted | None = None) -> None:
        self.context = context
        self.admitted = admitted
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


@dataclass(frozen=True)
class Shared:
    """What all calls share.

    Attributes:
        metrics: Counts them.
        admission: Lets them in, and counts what they hold.
        max_time_s: Longest time of one, in seconds.
        keys: Who may call; anybody if None.
    """

    metrics: Metrics
    admission: Admission
    max_time_s: float
    keys: KeyRing | None


@dataclass(frozen=True)
class RpcMethod:
    """One method of a service.

    Attributes:
        name: Full name, such as `inference.GRPCInferenceService/ModelInfer`.
        message_class: Of its requests.
        answer: Its implementation.
        work: What it asks for.
        needs_key: Whether callers need a key, where there are any.
    """

    name: str
    message_class: Any
    answer: Method
    work: Work
    needs_key: bool


class RpcHandler:
    """One method as gRPC calls it, with serialised messages.

    Interceptors are composed once, when the server starts, and not with `grpc.aio.ServerInterceptor`, which runs a
    coroutine for each of them on every call.

    Args:
        method: What answers.
        shared: What all calls share.
    """

    def __init__(self, method: RpcMethod, shared: Shared) -> None:
        self._method = method
        self._shared = shared

    @property
    def work(self) -> Work:
        """What its calls ask for."""
        return self._method.work

    def check_key(self, metadata: Any) -> str | None:
        """Returns the name of a caller's API key; None where none is asked for.

        Raises:
            Unauthenticated: There is no key, or it is not known.
        """
        if self._shared.keys is None or not self._method.needs_key:
            return None
        given = dict(metadata or ())
        return self._shared.keys.check(presented_key(given.get("authorization"), given.get("x-api-key")))

    async def handle(self, admitted: Admitted, key_name: str | None, data: bytes, context: Any) -> bytes:
        """Answers one call that was let in, or aborts it with the status of its error."""
        rpc = Rpc(context, self._shared.max_time_s, admitted)
        with rpc.recorded() as record:
            rpc.record = record
            record.route, record.key_name, record.received_bytes = self._method.name, key_name, len(data)
            return await self._answer(rpc, record, self._run(data, rpc))

    async def refuse(self, error: BrainMRIError, _messages: Any, context: Any) -> None:
        """Aborts a call that was not let in."""
        rpc = Rpc(context, self._shared.max_time_s)
        with rpc.recorded() as record:
            record.route = self._method.name
            await self._answer(rpc, record, _raise(error))

    async def _run(self, data: bytes, rpc: Rpc) -> Any:
        assert rpc.admitted is not None  # noqa: S101 -- set by `handle`
        rpc.admitted.hold(len(data))
        if self.work is not Work.PREDICTION:
            return await self._method.answer(self._parsed(data), rpc)
        with self._shared.admission.tensors():
            return await self._method.answer(self._parsed(data), rpc)

    def _parsed(self, data: bytes) -> Any:
        try:
            return self._method.message_class.FromString(data)
        except DecodeError as error:
            raise MalformedRequest("The message is not the protobuf of this method's request.") from error

    async def _answer(self, rpc: Rpc, record: RequestRecord, work: Coroutine[Any, Any, Any]) -> bytes:
        code = "CANCELLED"
        try:
            answer: bytes = (await work).SerializeToString()
            code, record.sent_bytes = "OK", len(answer)
        except BrainMRIError as error:
            code, record.error = code_of(error).name, error
            self._shared.metrics.count_error(error)
            await _abort(rpc, error)
        except Exception:
            code, record.error = "INTERNAL", BrainMRIError(_UNEXPECTED)
            _logger.exception("Unexpected error")
            await _abort(rpc, record.error)
        finally:
            self._shared.metrics.count_rpc(self._method.name, code, record.elapsed_s, record.trace_id)
            record.close(code, failed=code in _SERVERS_FAULT)
        rpc.context.set_trailing_metadata(((REQUEST_ID, rpc.request_id),))
        return answer


async def _raise(error: BrainMRIError) -> Any:
    raise error


async def _abort(rpc: Rpc, error: BrainMRIError) -> None:
    """Raises what makes gRPC answer with the error's status."""
    await rpc.context.abort(code_of(error), error.message, ((REQUEST_ID, rpc.request_id), *details_of(error)))
