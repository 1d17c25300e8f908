"""A client of one gRPC method that sends serialized messages and does not parse the answers."""

import grpc
import grpc.aio

from benchmarks.http_client import HOST, Reply

_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Without it all clients of a process would share one connection.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]


class GrpcClient:
    """One client with a connection of its own.

    Args:
        port: On the loopback address.
        method: Path such as `/inference.GRPCInferenceService/ModelInfer`.
    """

    def __init__(self, port: int, method: str) -> None:
        self._channel = grpc.aio.insecure_channel(f"{HOST}:{port}", _OPTIONS)
        self._call = self._channel.unary_unary(method)

    async def send(self, message: bytes) -> Reply:
        """Sends a message and returns the answer; an error's code is its status."""
        try:
            body = await self._call(message)
        except grpc.aio.AioRpcError as error:
            return Reply(error.code().name, _retry_after_s(error), b"")
        return Reply("OK", None, body)

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()


def _retry_after_s(error: grpc.aio.AioRpcError) -> float | None:
    for key, value in error.trailing_metadata():
        if key == "retry-after":
            return float(value)
    return None
