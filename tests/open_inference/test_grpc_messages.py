"""Messages that arrive over gRPC have a bound over all connections, and shut out nobody while they do."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from brainmri.open_inference.grpc_messages import LOOKAHEAD_BYTES
from loadtests.unfinished_calls import GREETING, INFER, UnfinishedCalls
from tests.open_inference.served import COLOURS, SIDE, WAIT_S, Served, eventually, serve, tensor_of
from tests.tiny import write_tiny_bundle

MESSAGE_BYTES = 4 * 2**20
MESSAGES = 4
"""Half of the bytes that may be held, in messages of the largest size."""
CALLS = 40
NOT_OFFERED = "/inference.GRPCInferenceService/TraceSetting"
HEALTH = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("messages")
    limits: dict[str, Any] = {"max_request_bytes": MESSAGE_BYTES, "max_held_bytes": 2 * MESSAGES * MESSAGE_BYTES}
    with serve(write_tiny_bundle(folder / "brain_mri_xception", folder), **limits) as running:
        yield running


@pytest.fixture
def channel(server: Served) -> Iterator[Any]:
    with grpc.insecure_channel(server.grpc_address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel


def infer(channel: Any) -> list[int]:
    """Returns the shape of the answer about three images, whose message is larger than the lookahead."""
    given = pb.ModelInferRequest.InferInputTensor(name="image", datatype="UINT8", shape=[3, SIDE, SIDE, 3])
    raw = [tensor_of(*list(COLOURS.values())[:3]).tobytes()]
    message = pb.ModelInferRequest(model_name="brain_mri", inputs=[given], raw_input_contents=raw)
    answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=30)
    return list(answer.outputs[0].shape)


def flooded(server: Served, calls: int = CALLS, path: str = INFER) -> UnfinishedCalls:
    """Returns calls of which the server has all that it takes."""
    flood = UnfinishedCalls(server.grpc.port, calls, MESSAGE_BYTES, path)
    seen = -1
    while flood.unfinished != seen:
        seen = flood.unfinished
        flood.go_on(1)
    return flood


def whole(*floods: UnfinishedCalls) -> int:
    """Returns how many messages have come but for their last byte."""
    return sum(sent > MESSAGE_BYTES - 16 for flood in floods for sent in flood.sent.values())


def test_of_many_messages_few_are_received_at_a_time(server: Served) -> None:
    with flooded(server) as one, flooded(server) as other:
        # Both have one address, which has half of the turns; of all others the server takes the first bytes.
        assert 1 <= whole(one, other) <= MESSAGES // 2
        received = one.unfinished + other.unfinished
        assert received <= MESSAGES // 2 * MESSAGE_BYTES + 2 * CALLS * (LOOKAHEAD_BYTES + 2**14)
        assert received > CALLS * LOOKAHEAD_BYTES


def test_a_call_is_answered_beside_messages_that_never_end(server: Served, channel: Any) -> None:
    with flooded(server, MESSAGES // 2) as flood:
        assert whole(flood) == MESSAGES // 2
        assert infer(channel) == [3, 4]
        flood.go_on(WAIT_S, lambda: bool(flood.ended))
        assert flood.ended
    # Whoever leaves gives its turn back.
    with flooded(server, MESSAGES // 2) as flood:
        assert whole(flood) == MESSAGES // 2


@pytest.mark.parametrize("path", [HEALTH, REFLECTION, "/inference.GRPCInferenceService/ServerReady"])
def test_probes_are_answered_beside_floods_of_any_method(server: Served, channel: Any, path: str) -> None:
    with flooded(server), flooded(server, path=path) as flood:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        assert whole(flood) <= 1


def test_reflection_answers_several_requests_of_one_stream(channel: Any) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    assert "inference.GRPCInferenceService" in database.get_services()
    assert database.FindFileContainingSymbol("inference.GRPCInferenceService").package == "inference"


def test_a_method_that_is_not_offered_ends_without_its_message(server: Served) -> None:
    with UnfinishedCalls(server.grpc.port, 2, MESSAGE_BYTES, NOT_OFFERED) as flood:
        flood.go_on(WAIT_S, lambda: len(flood.ended) == 2)
        assert flood.ended == {1, 3}


def test_a_call_without_a_message_is_refused(channel: Any) -> None:
    call = channel.stream_unary(INFER)
    with pytest.raises(grpc.RpcError) as caught:
        call(iter(()), timeout=30)
    error: Any = caught.value
    assert (error.code().name, error.details()) == ("INVALID_ARGUMENT", "The call has no message. Send one.")


CONNECTIONS = 3
HANDSHAKE_S = 1.0


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("connections")
    bundle = write_tiny_bundle(folder / "brain_mri_xception", folder)
    with serve(bundle, max_connections=CONNECTIONS, header_timeout_s=HANDSHAKE_S) as running:
        yield running


def connected(server: Served, stack: contextlib.ExitStack) -> socket.socket:
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.grpc.port)))
    connection.settimeout(WAIT_S)
    return connection


def is_served(connection: socket.socket) -> bool:
    """Tells whether the server greets a client of HTTP/2 in place of closing its connection."""
    try:
        connection.sendall(GREETING)
        return connection.recv(9) != b""
    except ConnectionError:
        return False


def test_connections_beyond_the_most_are_closed_until_one_leaves(narrow: Served) -> None:
    with contextlib.ExitStack() as stack:
        several = [connected(narrow, stack) for _ in range(CONNECTIONS)]
        assert [is_served(one) for one in several] == [True] * CONNECTIONS
        assert not is_served(connected(narrow, stack))
        several[0].close()
        assert eventually(lambda: is_served(connected(narrow, stack)))


def test_a_connection_that_says_nothing_is_closed(narrow: Served) -> None:
    with contextlib.ExitStack() as stack:
        begun, silent = time.monotonic(), connected(narrow, stack)
        while silent.recv(1000):
            pass
        assert HANDSHAKE_S / 2 < time.monotonic() - begun < WAIT_S
