import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from brainmri.batching.admission import MAX_STREAMS, MAX_STREAMS_PER_CONNECTION, Admission, AdmissionLimits
from brainmri.errors import Overloaded
from brainmri.settings import Settings
from tests.open_inference.served import Served, eventually, serve
from tests.tiny import write_tiny_bundle

SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("streams")
    with serve(write_tiny_bundle(folder / "brain_mri_xception", folder)) as running:
        yield running


def connect(server: Served) -> Any:
    return grpc.insecure_channel(server.grpc_address, [("grpc.use_local_subchannel_pool", 1)])


def begun(channel: Any) -> Any:
    """Returns a `Watch` that has been told the first status."""
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
    assert next(watch).status == SERVING
    return watch


def refusal(channel: Any) -> tuple[str, str, str]:
    """Returns status, message and Retry-After of a `Watch` too many."""
    with pytest.raises(grpc.RpcError) as caught:
        begun(channel)
    error: Any = caught.value
    return error.code().name, error.details(), dict(error.trailing_metadata())["retry-after"]


def test_streams_of_one_connection_have_a_limit(server: Served) -> None:
    with connect(server) as channel, connect(server) as other:
        watches = [begun(channel) for _ in range(MAX_STREAMS_PER_CONNECTION)]
        code, message, retry = refusal(channel)
        assert (code, retry) == ("RESOURCE_EXHAUSTED", "1")
        assert message.startswith(f"{MAX_STREAMS_PER_CONNECTION} streams of this connection are open")
        begun(other).cancel()
        watches[0].cancel()

        def finds_room() -> bool:
            with contextlib.suppress(grpc.RpcError):
                begun(channel).cancel()
                return True
            return False

        assert eventually(finds_room)


def test_streams_that_wait_shut_out_no_call(server: Served) -> None:
    with contextlib.ExitStack() as stack:
        channels = [stack.enter_context(connect(server)) for _ in range(MAX_STREAMS // MAX_STREAMS_PER_CONNECTION)]
        watches = [begun(channel) for channel in channels for _ in range(MAX_STREAMS_PER_CONNECTION)]
        last = stack.enter_context(connect(server))
        assert refusal(last)[1].startswith(f"{MAX_STREAMS} streams are open")
        more = [health_pb2_grpc.HealthStub(last).Watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(600)]
        assert (
            service_pb2_grpc.GRPCInferenceServiceStub(channels[0])
            .ServerReady(pb.ServerReadyRequest(), timeout=30)
            .ready
        )
        assert all(watch.is_active() for watch in watches)
        assert {watch.code() for watch in more} == {grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_reflection_answers_under_both_names_and_takes_a_place(server: Served) -> None:
    with connect(server) as channel:
        for version in ("v1", "v1alpha"):
            method = channel.stream_stream(
                f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                reflection_pb2.ServerReflectionRequest.SerializeToString,
                reflection_pb2.ServerReflectionResponse.FromString,
            )
            asked = reflection_pb2.ServerReflectionRequest(list_services="")
            (answer,) = method(iter([asked]), timeout=30)
            names = {service.name for service in answer.list_services_response.service}
            assert f"grpc.reflection.{version}.ServerReflection" in names
        watches = [begun(channel) for _ in range(MAX_STREAMS_PER_CONNECTION)]
        with pytest.raises(grpc.RpcError) as caught:
            list(method(iter([asked]), timeout=30))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert all(watch.is_active() for watch in watches)


def test_a_place_is_given_back() -> None:
    streams = Admission(AdmissionLimits.of(Settings()), lambda _: None).waiting_streams
    for _ in range(2 * MAX_STREAMS):
        with streams.one("a"):
            pass
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_STREAMS_PER_CONNECTION):
            stack.enter_context(streams.one("a"))
        with pytest.raises(Overloaded, match="of this connection"), streams.one("a"):
            pass
