"""What every RPC goes through before and after its method: id, key, deadline, place, status, count."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from brainmri.api.auth import KeyRing, presented_key
from brainmri.api.middleware import sane_request_id
from brainmri.api.open_inference.dataplane import DataPlane
from brainmri.api.open_inference.grpc_status import code_of, details_of
from brainmri.errors import BrainMRIError
from brainmri.inference.deadline import Deadline
from brainmri.metrics import Metrics

REQUEST_ID = "x-request-id"

_logger = logging.getLogger(__name__)


@dataclass
class Rpc:
    """One call under way.

    Attributes:
        method: Full name, such as `inference.GRPCInferenceService/ModelInfer`.
        context: gRPC's view of it.
        max_time_s: Longest time that the server gives a call, in seconds.
    """

    method: str
    context: Any
    max_time_s: float

    @cached_property
    def metadata(self) -> dict[str, str]:
        """What the client sent beside its message; keys are lower case."""
        return dict(self.context.invocation_metadata() or ())

    @cached_property
    def request_id(self) -> str:
        """The client's, if it is sane, or else a new one."""
        return sane_request_id(self.metadata.get(REQUEST_ID, ""))

    @cached_property
    def deadline(self) -> Deadline:
        """When the client stops waiting, but no later than the server lets a call take."""
        remaining = self.context.time_remaining()
        return Deadline.after(self.max_time_s if remaining is None else min(remaining, self.max_time_s))


Method = Callable[[Any, Rpc], Awaitable[Any]]
"""Answers a message; raises `BrainMRIError`."""


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


def with_key(method: Method, keys: KeyRing) -> Method:
    """Refuses calls without a known API key."""

    async def intercepted(message: Any, rpc: Rpc) -> Any:
        keys.check(presented_key(rpc.metadata.get("authorization"), rpc.metadata.get("x-api-key")))
        return await method(message, rpc)

    return intercepted


def with_place(method: Method, plane: DataPlane) -> Method:
    """Refuses calls beyond the number that may be under way, of both protocols together."""

    async def intercepted(message: Any, rpc: Rpc) -> Any:
        with plane.slot():
            return await method(message, rpc)

    return intercepted


def as_handler(
    name: str, method: Method, metrics: Metrics, in_flight: InFlight, max_time_s: float
) -> Callable[[Any, Any], Awaitable[Any]]:
    """Returns what gRPC calls: `method` with its request id, its status and its count.

    The interceptors are composed once, here, and not with `grpc.aio.ServerInterceptor`, which runs a coroutine for
    each of them on every call before the call is even looked at.
    """

    async def handle(message: Any, context: Any) -> Any:
        rpc = Rpc(name, context, max_time_s)
        start = time.perf_counter()
        code = "CANCELLED"
        in_flight.enter()
        try:
            response = await method(message, rpc)
            code = "OK"
            context.set_trailing_metadata(((REQUEST_ID, rpc.request_id),))
            return response
        except BrainMRIError as error:
            code = code_of(error).name
            metrics.count_error(error)
            await _abort(rpc, error)
        except Exception:
            code = "INTERNAL"
            _logger.exception("Unexpected error in call %s of %s", rpc.request_id, name)
            await _abort(rpc, _unexpected())
        finally:
            metrics.count_rpc(name, code, time.perf_counter() - start)
            in_flight.leave()

    return handle


async def _abort(rpc: Rpc, error: BrainMRIError) -> None:
    if code_of(error).name == "INTERNAL":
        _logger.error("Call %s of %s failed: %s", rpc.request_id, rpc.method, error.message)
    await rpc.context.abort(code_of(error), error.message, ((REQUEST_ID, rpc.request_id), *details_of(error)))


def _unexpected() -> BrainMRIError:
    return BrainMRIError("The server failed unexpectedly. Try again; if it stays, report the request id.")
