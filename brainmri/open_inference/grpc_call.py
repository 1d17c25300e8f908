"""One gRPC call: its key and admission before the message is read, its Call, and its errors as gRPC statuses."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from brainmri.batching.admission import Admission, Admitted, Work
from brainmri.batching.call import Deadline
from brainmri.errors import BrainMRIError, MalformedRequest, retry_after, status_of
from brainmri.observe.metrics import Metrics
from brainmri.observe.request_record import RequestRecord
from brainmri.open_inference.grpc_messages import receive
from brainmri.web.auth import KeyRing, presented_key
from brainmri.web.middleware import sane_request_id

DOMAIN = "brainmri"

_DETAILS = "grpc-status-details-bin"

REQUEST_ID = "x-request-id"

_SERVERS_FAULT = ("INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED")
_UNEXPECTED = "The server failed unexpectedly. Try again; if it stays, report the request id."

_logger = logging.getLogger(__name__)


def code_of(error: BrainMRIError) -> Any:
    """Returns the `grpc.StatusCode` of an error."""
    return grpc.StatusCode[status_of(error).grpc]


def details_of(error: BrainMRIError) -> list[tuple[str, str | bytes]]:
    """Returns the trailing metadata of an error.

    `grpc-status-details-bin` carries a `google.rpc.Status` with an `ErrorInfo` that names the error's code and limit,
    and a `RetryInfo` where trying again has a chance; then `retry-after` says it in whole seconds, too.

    Source: https://google.aip.dev/193; https://grpc.github.io/grpc/core/md_doc_statuscodes.html.
    """
    info = error_details_pb2.ErrorInfo(reason=error.code.upper(), domain=DOMAIN)
    if error.limit is not None:
        info.metadata["limit"] = error.limit
    status = status_pb2.Status(code=code_of(error).value[0], message=error.message, details=[_packed(info)])
    trailing: list[tuple[str, str | bytes]] = []
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(math.ceil(error.retry_after_s * 1e3))
        status.details.append(_packed(retry))
        trailing.append(("retry-after", str(retry_after(error))))
    return [*trailing, (_DETAILS, status.SerializeToString())]


async def abort(context: Any, error: BrainMRIError, *more: tuple[str, str]) -> None:
    """Ends a call with an error: raises what makes gRPC answer with its status.

    Args:
        context: gRPC's view of the call.
        error: Why.
        *more: Trailing metadata besides the error's.
    """
    await context.abort(code_of(error), error.message, (*more, *details_of(error)))


def _packed(message: Any) -> Any:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


class Rpc:
    """One call under way.

    Args:
        context: gRPC's view of it.
        max_time_s: Longest time that the server gives a call, in seconds.
        admitted: What it holds; None for a call that was not let in.

    Attributes:
        context: gRPC's view of the call.
        metadata: What the client sent beside its message; keys are lower case.
        request_id: The client's, if it is sane, or else a new one.
        deadline: When the client stops waiting, but no later than the server lets a call take.
        record: What is noted about the call, once it has been opened.
        admitted: What the call holds; None for one that was not let in.
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

    async def handle(self, admitted: Admitted, key_name: str | None, _messages: Any, context: Any) -> bytes:
        """Answers one call that was let in, or aborts it with the status of its error."""
        rpc = Rpc(context, self._shared.max_time_s, admitted)
        with rpc.recorded() as record:
            rpc.record = record
            record.route, record.key_name = self._method.name, key_name
            return await self._answer(rpc, record, self._run(rpc, record))

    async def refuse(self, error: BrainMRIError, _messages: Any, context: Any) -> None:
        """Aborts a call that was not let in."""
        rpc = Rpc(context, self._shared.max_time_s)
        with rpc.recorded() as record:
            record.route = self._method.name
            await self._answer(rpc, record, _raise(error))

    async def _run(self, rpc: Rpc, record: RequestRecord) -> Any:
        message = await self._message(rpc, record)
        if self.work is not Work.PREDICTION:
            return await self._method.answer(message, rpc)
        with self._shared.admission.tensors():
            return await self._method.answer(message, rpc)

    async def _message(self, rpc: Rpc, record: RequestRecord) -> Any:
        assert rpc.admitted is not None  # noqa: S101 -- set by `handle`
        admission = self._shared.admission
        turns = admission.messages if self.work is Work.PREDICTION else admission.other_messages
        client = None if record.key_name is None else f"key {record.key_name}"
        data = await receive(rpc.context, turns, rpc.deadline, client)
        if data is None:
            raise MalformedRequest("The call has no message. Send one.")
        record.received_bytes = len(data)
        rpc.admitted.hold(len(data))
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
    await abort(rpc.context, error, (REQUEST_ID, rpc.request_id))


class AdmittedHandlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Looks for the handler of a method; a call that is not let in gets one that refuses it.

    gRPC's own `maximum_concurrent_rpcs` refuses without details, so clients would not know when to try again.

    Args:
        methods: Full name, such as `/inference.GRPCInferenceService/ModelInfer`, to what answers.
        others: gRPC's tables of all other methods, which are streams for the most part.
        admission: What lets calls in.
    """

    def __init__(self, methods: Mapping[str, RpcHandler], others: Sequence[Any], admission: Admission) -> None:
        self._methods = methods
        self._others = others
        self._admission = admission

    def service(self, handler_call_details: Any) -> Any:
        """Returns the handler of one call, asked for in the task that will run it; None for an unknown method."""
        method = self._methods.get(handler_call_details.method)
        try:
            key_name = None if method is None else method.check_key(handler_call_details.invocation_metadata)
            admitted = self._admission.admit_rpc(Work.STREAM if method is None else method.work)
        except BrainMRIError as error:
            refuse = partial(_refuse, error) if method is None else partial(method.refuse, error)
            return grpc.stream_unary_rpc_method_handler(refuse)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- gRPC runs each call in a task of its own
        task.add_done_callback(lambda _: admitted.close())
        if method is not None:
            # As a stream, like all that are answered here: its message is read only when it is asked for.
            return grpc.stream_unary_rpc_method_handler(partial(method.handle, admitted, key_name))
        found = (handler.service(handler_call_details) for handler in self._others)
        return next((one for one in found if one is not None), None)


async def _refuse(error: BrainMRIError, _messages: Any, context: Any) -> None:
    await abort(context, error)
