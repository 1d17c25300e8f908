"""The number of RPCs under way; those beyond it are refused before their message is read."""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc

from brainmri.errors import Overloaded
from brainmri.open_inference.grpc_status import code_of, details_of


class LimitedHandlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Looks for the handler of a method; an RPC beyond the limit gets one that refuses it.

    gRPC's own `maximum_concurrent_rpcs` refuses without details, so clients would not know when to try again.

    Args:
        handlers: gRPC's tables of methods.
        most: Most RPCs under way, at least 1.
    """

    def __init__(self, handlers: Sequence[Any], most: int) -> None:
        self._handlers = handlers
        self._most = most
        self._under_way = 0

    def service(self, handler_call_details: Any) -> Any:
        """Returns the handler of one RPC, called in the task that will run it; None for an unknown method."""
        if self._under_way >= self._most:
            # As a stream, whose messages are read only when they are asked for.
            return grpc.stream_unary_rpc_method_handler(self._refuse)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- gRPC runs each RPC in a task of its own
        self._under_way += 1
        task.add_done_callback(self._end)
        found = (handler.service(handler_call_details) for handler in self._handlers)
        return next((one for one in found if one is not None), None)

    def _end(self, _: object) -> None:
        self._under_way -= 1

    async def _refuse(self, _messages: Any, context: Any) -> None:
        error = Overloaded.by_requests(self._most)
        await context.abort(code_of(error), error.message, tuple(details_of(error)))
