"""gRPC of a real server: two workers on one port, with API keys, metrics and the log."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from brainmri.open_inference.tensors import pack_elements, unpack_elements
from brainmri.web.auth import edit_keys, new_key
from tests.e2e.servers import Server, serving
from tests.open_inference.served import COLOURS, SIDE, tensor_of, tiny_probabilities

RED = COLOURS["glioma"]
METHOD = "inference.GRPCInferenceService/ModelInfer"
MOST_CONNECTIONS = 60
"""The kernel picks a worker for each: all of them the same one of two happens once in 10^18 times."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def key(folder: Path) -> str:
    key, hashed = new_key("tester")
    with edit_keys(folder / "keys") as keys:
        keys["tester"] = hashed
    return key


@pytest.fixture(scope="module")
def server(folder: Path, key: str) -> Iterator[Server]:
    settings = {"api_keys_file": folder / "keys", "log_format": "json", "max_request_bytes": 1_000_000}
    with serving(folder, workers=2, **{name: str(value) for name, value in settings.items()}) as running:
        yield running


def connect(server: Server) -> Any:
    # A connection of its own: by default the channels of one process share one.
    return grpc.insecure_channel(server.grpc_address, [("grpc.use_local_subchannel_pool", 1)])


@pytest.fixture
def channel(server: Server) -> Iterator[Any]:
    with connect(server) as channel:
        grpc.channel_ready_future(channel).result(timeout=30)
        yield channel


@pytest.fixture
def metadata(key: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {key}")]


def pixels(*colours: tuple[int, int, int]) -> Any:
    given = pb.ModelInferRequest.InferInputTensor(name="image", datatype="UINT8", shape=[len(colours), SIDE, SIDE, 3])
    raw = [tensor_of(*colours).tobytes()]
    return pb.ModelInferRequest(model_name="brain_mri", inputs=[given], raw_input_contents=raw)


def floats(response: Any) -> Any:
    return np.frombuffer(response.raw_output_contents[0], "<f4").reshape(response.outputs[0].shape)


def refusal(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name, caught.value.details()


def test_both_models_answer(channel: Any, metadata: list[tuple[str, str]], png: Callable[..., bytes]) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    colours = list(COLOURS.values())[:3]
    answer = stub.ModelInfer(pixels(*colours), metadata=metadata, timeout=20)
    assert floats(answer) == pytest.approx(tiny_probabilities(*colours), abs=1e-6)
    given = pb.ModelInferRequest.InferInputTensor(name="image", datatype="BYTES", shape=[4, 1])
    raw = [pack_elements([png(colour) for colour in COLOURS.values()])]
    message = pb.ModelInferRequest(model_name="brain_mri_image", inputs=[given], raw_input_contents=raw)
    answer = stub.ModelInfer(message, metadata=metadata, timeout=20)
    assert unpack_elements(answer.raw_output_contents[1], 4) == [label.encode() for label in COLOURS]


def test_calls_need_a_key_but_health_and_reflection_do_not(channel: Any) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    code, message = refusal(lambda: stub.ModelInfer(pixels(RED), timeout=20))
    assert code == "UNAUTHENTICATED"
    assert message.startswith("This service needs an API key.")
    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="brain_mri"), timeout=20)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    services = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert "inference.GRPCInferenceService" in list(services)


def test_a_message_beyond_the_limit_is_refused(channel: Any, metadata: list[tuple[str, str]]) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    code, message = refusal(lambda: stub.ModelInfer(pixels(*[RED] * 4), metadata=metadata, timeout=20))
    assert code == "RESOURCE_EXHAUSTED"
    assert "1000000" in message


def test_both_workers_answer_on_the_one_port_and_the_metrics_add_them_up(
    server: Server, metadata: list[tuple[str, str]]
) -> None:
    before = counted(server)
    answered: list[int] = []
    for number in range(1, MOST_CONNECTIONS + 1):
        with connect(server) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            answer = stub.ModelInfer(pixels(RED), metadata=metadata, timeout=20, wait_for_ready=True)
            assert floats(answer) == pytest.approx(tiny_probabilities(RED), abs=1e-6)
            request = pb.ModelStatisticsRequest(name="brain_mri")
            (stats,) = stub.ModelStatistics(request, metadata=metadata, timeout=20).model_stats
            answered.append(stats.inference_count)
        # Each worker counts its own: one alone would count up in steps of 1.
        if answered != list(range(answered[0], answered[0] + number)):
            break
    else:
        pytest.fail(f"{MOST_CONNECTIONS} connections were all answered by one worker.")
    assert counted(server) - before == len(answered)


def counted(server: Server) -> float:
    """Returns how many inferences the metrics of all workers together say were answered."""
    wanted = f'brainmri_rpcs_total{{code="OK",method="{METHOD}"}} '
    lines = [line for line in server.client.get("/metrics").text.splitlines() if line.startswith(wanted)]
    return sum(float(line.removeprefix(wanted)) for line in lines)


def test_a_call_has_its_line_in_the_log(server: Server, channel: Any, metadata: list[tuple[str, str]]) -> None:
    sent = [
        *metadata,
        ("x-request-id", "grpc-e2e-1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ]
    service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(pixels(RED, RED), metadata=sent, timeout=20)
    server.until(lambda: "grpc-e2e-1" in server.log, "the call is logged")
    lines = [json.loads(line) for line in server.log.splitlines() if "grpc-e2e-1" in line]
    expected = {
        "request_id": "grpc-e2e-1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "protocol": "grpc",
        "route": METHOD,
        "status": "OK",
        "key": "tester",
        "model": "brain_mri_xception:0.0.1",
        "images": 2,
    }
    assert [{name: line.get(name) for name in expected} for line in lines] == [expected]
