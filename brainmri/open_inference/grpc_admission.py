"""Asks admission about each gRPC call before its message is read."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import grpc

from brainmri.batching.admission import Admission, Work
from brainmri.errors import BrainMRIError
from brainmri.open_inference.grpc_call import RpcHandler
from brainmri.open_inference.grpc_status import code_of, details_of


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
            # As a stream, whose messages are read only when they are asked for.
            return grpc.stream_unary_rpc_method_handler(refuse)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- gRPC runs each call in a task of its own
        task.add_done_callback(lambda _: admitted.close())
        if method is not None:
            return grpc.unary_unary_rpc_method_handler(partial(method.handle, admitted, key_name))
        found = (handler.service(handler_call_details) for handler in self._others)
        return next((one for one in found if one is not None), None)


async def _refuse(error: BrainMRIError, _messages: Any, context: Any) -> None:
    await context.abort(code_of(error), error.message, tuple(details_of(error)))
