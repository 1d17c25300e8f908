"""Server reflection, under its two names: `v1`, and `v1alpha`, which older clients ask for."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_reflection.v1alpha import reflection, reflection_pb2

from brainmri.batching.slots import Slots
from brainmri.errors import Overloaded
from brainmri.open_inference.grpc_status import code_of, details_of

REFLECTION_NAMES = ("grpc.reflection.v1.ServerReflection", str(reflection.SERVICE_NAME))


def reflection_handlers(services: Sequence[str], streams: Slots) -> tuple[Any, ...]:
    """Returns gRPC's tables of the methods.

    Args:
        services: Full names of the services to tell about, beside reflection itself.
        streams: Where each stream takes its slot.
    """
    _describe_v1()
    servicer = reflection.aio.ReflectionServicer((*services, *REFLECTION_NAMES))

    async def inform(requests: Any, context: Any) -> AsyncIterator[Any]:
        try:
            with streams.one(context.peer()):
                async for answer in servicer.ServerReflectionInfo(requests, context):
                    yield answer
        except Overloaded as error:
            await context.abort(code_of(error), error.message, tuple(details_of(error)))

    # Both versions have the same messages but for the package's name, which does not travel.
    method = grpc.stream_stream_rpc_method_handler(
        inform,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    table = {"ServerReflectionInfo": method}
    return tuple(grpc.method_handlers_generic_handler(name, table) for name in REFLECTION_NAMES)


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
