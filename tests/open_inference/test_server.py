import asyncio
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from brainmri.batching.admission import UnderWay
from brainmri.batching.call import Deadline
from brainmri.batching.engine import Engine
from brainmri.errors import InvalidSettings
from brainmri.model.bundle import Bundle
from brainmri.model.contract import NOTICE
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.dataplane import DataPlane
from brainmri.open_inference.grpc_server import GrpcServer
from brainmri.open_inference.tensors import pack_elements, unpack_elements
from brainmri.settings import Settings
from brainmri.web.auth import KeyRing, edit_keys, new_key
from tests.batching.stand_in import asked
from tests.imaging.dicom_samples import dataset, twelve_bits
from tests.imaging.dicom_samples import file as dicom_file
from tests.open_inference.served import (
    COLOURS,
    SIDE,
    Served,
    eventually,
    free_port,
    serve,
    tensor_of,
    tiny_probabilities,
)

RED, GREEN = COLOURS["glioma"], COLOURS["meningioma"]
PNG = {"content-type": "image/png"}
METHOD = "inference.GRPCInferenceService/ModelInfer"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING

Png = Callable[..., bytes]


def connect(server: Served) -> Any:
    # An own connection for each: by default channels of one process share it.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    return grpc.insecure_channel(server.grpc_address, options)


@pytest.fixture(scope="module")
def stub(server: Served) -> Iterator[Any]:
    with connect(server) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def request(*colours: tuple[int, int, int], **fields: Any) -> Any:
    """Returns a request with one raw image of each colour."""
    given = pb.ModelInferRequest.InferInputTensor(name="image", datatype="UINT8", shape=[len(colours), SIDE, SIDE, 3])
    fields = {
        "model_name": "brain_mri",
        "inputs": [given],
        "raw_input_contents": [tensor_of(*colours).tobytes()],
    } | fields
    return pb.ModelInferRequest(**fields)


def files_request(*files: bytes, **fields: Any) -> Any:
    given = pb.ModelInferRequest.InferInputTensor(name="image", datatype="BYTES", shape=[len(files), 1])
    raw = {"raw_input_contents": [pack_elements(files)]}
    return pb.ModelInferRequest(**{"model_name": "brain_mri_image", "inputs": [given], **raw, **fields})


def floats(response: Any, index: int = 0) -> Any:
    return np.frombuffer(response.raw_output_contents[index], "<f4").reshape(response.outputs[index].shape)


def code_and_message(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name, caught.value.details()


def test_raw_pixels(stub: Any) -> None:
    response = stub.ModelInfer(request(RED, GREEN, id="7"))
    (output,) = response.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("probabilities", "FP32", [2, 4])
    assert floats(response) == pytest.approx(tiny_probabilities(RED, GREEN), abs=1e-6)
    assert (response.model_name, response.model_version, response.id) == ("brain_mri", "0.0.1", "7")
    assert response.parameters["notice"].string_param == NOTICE


def test_typed_pixels(stub: Any) -> None:
    contents = pb.InferTensorContents(uint_contents=tensor_of(GREEN).ravel().tolist())
    given = pb.ModelInferRequest.InferInputTensor(
        name="image", datatype="UINT8", shape=[1, SIDE, SIDE, 3], contents=contents
    )
    response = stub.ModelInfer(request(GREEN, inputs=[given], raw_input_contents=[]))
    assert floats(response) == pytest.approx(tiny_probabilities(GREEN), abs=1e-6)


@pytest.mark.parametrize("typed", [False, True])
def test_files_raw_or_typed(stub: Any, png: Png, typed: bool) -> None:
    files = [png(colour) for colour in COLOURS.values()]
    message = files_request(*files)
    if typed:
        message.inputs[0].contents.bytes_contents.extend(files)
        del message.raw_input_contents[:]
    response = stub.ModelInfer(message)
    assert [output.name for output in response.outputs] == ["probabilities", "label", "novelty"]
    assert floats(response) == pytest.approx(tiny_probabilities(*COLOURS.values()), abs=1e-6)
    assert unpack_elements(response.raw_output_contents[1], 4) == [label.encode() for label in COLOURS]
    assert np.isnan(floats(response, 2)).all()


def test_the_source_of_a_file_and_the_parameters_that_choose_its_frame(stub: Any) -> None:
    frames = dicom_file(dataset(np.stack([twelve_bits()] * 3), Modality="CT"))
    fields: Any = {"outputs": [pb.ModelInferRequest.InferRequestedOutputTensor(name="source")]}
    message = files_request(frames, **fields)
    assert code_and_message(lambda: stub.ModelInfer(message))[0] == "INVALID_ARGUMENT"
    message.parameters["force"].bool_param = True
    message.parameters["frame"].int64_param = 2
    (element,) = unpack_elements(stub.ModelInfer(message).raw_output_contents[0], 1)
    source = json.loads(bytes(element))
    assert (source["format"], source["frames"], source["frame"]) == ("DICOM", 3, 2)
    message.parameters["frame"].int64_param = 3
    assert code_and_message(lambda: stub.ModelInfer(message))[0] == "INVALID_ARGUMENT"
    message.parameters["force"].string_param = "yes"
    assert code_and_message(lambda: stub.ModelInfer(message)) == (
        "INVALID_ARGUMENT",
        "The parameter force must be true or false (bool_param).",
    )


def test_some_outputs_and_classes(stub: Any, png: Png) -> None:
    wanted = [
        pb.ModelInferRequest.InferRequestedOutputTensor(name="label"),
        pb.ModelInferRequest.InferRequestedOutputTensor(
            name="probabilities", parameters={"classification": pb.InferParameter(int64_param=2)}
        ),
    ]
    response = stub.ModelInfer(files_request(png(RED), outputs=wanted))
    assert [output.name for output in response.outputs] == ["label", "probabilities"]
    assert list(response.outputs[1].shape) == [1, 2]
    classes = unpack_elements(response.raw_output_contents[1], 2)
    assert classes == [b"0.976005:0:glioma", b"0.010842:2:notumor"]


def test_version_and_metadata(stub: Any) -> None:
    assert stub.ModelInfer(request(RED, model_version="0.0.1")).model_version == "0.0.1"
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="brain_mri"))
    assert [(tensor.datatype, list(tensor.shape)) for tensor in (metadata.inputs[0], metadata.outputs[0])] == [
        ("UINT8", [-1, 299, 299, 3]),
        ("FP32", [-1, 4]),
    ]
    config = stub.ModelConfig(pb.ModelConfigRequest(name="brain_mri")).config
    assert (config.max_batch_size, config.input[0].format) == (8, config.input[0].FORMAT_NHWC)


def with_parameter(name: str, **value: Any) -> Any:
    return request(RED, parameters={name: pb.InferParameter(**value)})


def shared_memory() -> Any:
    message = request(RED)
    message.inputs[0].parameters["shared_memory_region"].string_param = "a"
    return message


def both_contents() -> Any:
    message = request(RED)
    message.inputs[0].contents.uint_contents.append(1)
    return message


@pytest.mark.parametrize(
    ("message", "code", "sentence"),
    [
        (request(RED, model_name="other"), "NOT_FOUND", "No model 'other' is served"),
        (request(RED, model_version="9"), "NOT_FOUND", "of version '9'"),
        (request(RED, raw_input_contents=[b"abc"]), "INVALID_ARGUMENT", "holds 3 values"),
        (request(RED, raw_input_contents=[]), "INVALID_ARGUMENT", "holds 0 values"),
        (request(RED, raw_input_contents=[b"a", b"b"]), "INVALID_ARGUMENT", "1 inputs, 2 raw_input_contents"),
        (request(RED, inputs=[], raw_input_contents=[]), "INVALID_ARGUMENT", "has 0 inputs"),
        (request(RED, id="x" * 257), "INVALID_ARGUMENT", "at most 256 are accepted"),
        (both_contents(), "INVALID_ARGUMENT", "1 typed contents"),
        (shared_memory(), "INVALID_ARGUMENT", "Shared memory is not offered"),
        (request(*[RED] * 9), "RESOURCE_EXHAUSTED", "one request may hold 8 images"),
        (with_parameter("priority", int64_param=5), "INVALID_ARGUMENT", "priority is 5"),
        (with_parameter("timeout", string_param="1"), "INVALID_ARGUMENT", "timeout must be an integer"),
        (files_request(b"not an image"), "INVALID_ARGUMENT", "Element 0 of the input: "),
        (files_request(bytes(100_001)), "RESOURCE_EXHAUSTED", "at most 100000"),
    ],
)
def test_a_bad_request_gets_its_code_and_a_sentence(stub: Any, message: Any, code: str, sentence: str) -> None:
    answered, details = code_and_message(lambda: stub.ModelInfer(message))
    assert answered == code
    assert sentence in details


def test_one_corrupt_file_fails_its_request_and_is_named(stub: Any, png: Png) -> None:
    answered = code_and_message(lambda: stub.ModelInfer(files_request(png(), png(), png()[:80], png())))
    assert answered[0] == "INVALID_ARGUMENT"
    assert answered[1].startswith("Element 2 of the input: ")


def test_bytes_that_are_no_message_are_the_callers_fault(server: Served) -> None:
    with connect(server) as channel:
        call = channel.unary_unary(f"/{METHOD}")
        assert code_and_message(lambda: call(b"\xff\xff\xff"))[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_beyond_the_limit_is_refused_also_compressed(server: Served, compression: Any) -> None:
    with connect(server) as channel:
        call = channel.unary_unary(f"/{METHOD}")
        code, message = code_and_message(lambda: call(bytes(3_000_001), compression=compression))
    assert code == "RESOURCE_EXHAUSTED"
    assert "3000000" in message


def test_what_is_not_offered_says_so(stub: Any) -> None:
    calls = {
        "RepositoryModelLoad": lambda: stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="a")),
        "SystemSharedMemoryStatus": lambda: stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest()),
        "TraceSetting": lambda: stub.TraceSetting(pb.TraceSettingRequest()),
        "ModelStreamInfer": lambda: next(stub.ModelStreamInfer(iter([request(RED)]))),
    }
    for name, call in calls.items():
        code, message = code_and_message(call)
        assert code == "UNIMPLEMENTED"
        assert message.startswith(f"{name} is not offered. ")
        assert message.endswith(".")


def trailing(call: Any) -> dict[str, Any]:
    return dict(call.trailing_metadata())


def test_the_request_id_comes_back_with_answers_and_errors(stub: Any) -> None:
    metadata = [("x-request-id", "abc-1")]
    _, call = stub.ModelInfer.with_call(request(RED), metadata=metadata)
    assert trailing(call)["x-request-id"] == "abc-1"
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request(RED, model_name="x"), metadata=metadata)
    assert trailing(caught.value)["x-request-id"] == "abc-1"
    _, call = stub.ModelInfer.with_call(request(RED), metadata=[("x-request-id", "not sane!")])
    assert len(trailing(call)["x-request-id"]) == 32


def test_calls_are_counted_by_method_and_code_but_probes_are_not(bundle: Bundle) -> None:
    with serve(bundle) as server, connect(server) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for _ in range(3):
            stub.ModelInfer(request(RED, GREEN))
        code_and_message(lambda: stub.ModelInfer(request(RED, model_name="x")))
        stub.ServerLive(pb.ServerLiveRequest())
        stub.ServerReady(pb.ServerReadyRequest())
        stub.ModelReady(pb.ModelReadyRequest(name="brain_mri"))
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        name = "brainmri_rpcs_total"
        counts = {code: server.sample(name, method=METHOD, code=code) for code in ("OK", "NOT_FOUND")}
        assert (counts, server.sample(name)) == ({"OK": 3, "NOT_FOUND": 1}, 4)
        assert server.sample("brainmri_predictions_total", label="glioma") == 3
        assert server.sample("brainmri_predictions_total", label="meningioma") == 3


def test_each_call_has_one_line_in_the_log_with_its_ids_and_sizes(stub: Any, caplog: pytest.LogCaptureFixture) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with caplog.at_level(logging.INFO, "brainmri.access"):
        stub.ModelInfer(request(RED), metadata=[("traceparent", parent)])
    (line,) = [record for record in caplog.records if record.name == "brainmri.access"]
    fields: dict[str, Any] = line.fields  # type: ignore[attr-defined]
    assert (fields["protocol"], fields["route"], fields["status"]) == ("grpc", METHOD, "OK")
    assert (fields["model"], fields["images"]) == ("brain_mri_xception:0.0.1", 1)
    assert fields["received_bytes"] == len(request(RED).SerializeToString())


def test_health_is_told_for_the_server_the_service_and_each_model(server: Served) -> None:
    with connect(server) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "inference.GRPCInferenceService", "brain_mri", "brain_mri_image"):
            assert health.Check(health_pb2.HealthCheckRequest(service=name)).status == SERVING
        unknown = health_pb2.HealthCheckRequest(service="other")
        assert code_and_message(lambda: health.Check(unknown))[0] == "NOT_FOUND"


def test_reflection_describes_every_service(server: Served) -> None:
    with connect(server) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert set(database.get_services()) == {
            "inference.GRPCInferenceService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        for service, method in (
            ("inference.GRPCInferenceService", "ModelInfer"),
            ("grpc.health.v1.Health", "Watch"),
            ("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo"),
        ):
            file = database.FindFileContainingSymbol(service)
            assert method in [described.name for described in file.service[0].method]


def test_a_server_that_loads_its_model_is_live_but_not_ready(bundle: Bundle) -> None:
    with serve(bundle, ready=False) as server, connect(server) as channel:
        stub, health = service_pb2_grpc.GRPCInferenceServiceStub(channel), health_pb2_grpc.HealthStub(channel)
        assert stub.ServerLive(pb.ServerLiveRequest()).live
        assert not stub.ServerReady(pb.ServerReadyRequest()).ready
        assert not stub.ModelReady(pb.ModelReadyRequest(name="brain_mri")).ready
        for name in ("", "brain_mri", "whatever it will serve"):
            assert health.Check(health_pb2.HealthCheckRequest(service=name)).status == NOT_SERVING
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request(RED))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert trailing(caught.value)["retry-after"] == "5"


def test_whoever_watches_is_told_when_the_server_stops_being_ready(bundle: Bundle) -> None:
    with serve(bundle) as server, connect(server) as channel, connect(server) as other:
        watch = health_pb2.HealthCheckRequest(service="brain_mri")
        leaves = health_pb2_grpc.HealthStub(other).Watch(watch, timeout=20)
        stays = health_pb2_grpc.HealthStub(channel).Watch(watch, timeout=20)
        assert [next(leaves).status, next(stays).status] == [SERVING, SERVING]
        leaves.cancel()

        async def retire() -> None:
            server.engine.retire()

        server.run(retire())
        assert next(stays).status == NOT_SERVING


def held(server: Served) -> Callable[[], list[Any]]:
    """Occupies the network; returns what waits for its answer."""
    gate = server.gates[0]
    gate.hold()
    wait = server.begin(server.engine.infer(asked(server.engine, Deadline.after(30)), tensor_of(RED)))
    assert gate.entered.acquire(timeout=10)
    return wait


def test_overload_is_refused_with_retry_information(bundle: Bundle) -> None:
    with serve(bundle, max_queue_images=1, max_batch_size=1) as server, connect(server) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        runs = held(server)
        queued = server.begin(server.engine.infer(asked(server.engine, Deadline.after(30)), tensor_of(RED)))
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request(RED))
        server.gates[0].opened.set()
        assert [len(runs()), len(queued())] == [1, 1]
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    metadata = trailing(caught.value)
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    retry = error_details_pb2.RetryInfo()
    assert status.details[1].Unpack(retry)
    assert int(metadata["retry-after"]) >= 1
    assert 0 < retry.retry_delay.ToMilliseconds() <= int(metadata["retry-after"]) * 1000


def test_calls_beyond_the_places_are_refused_before_they_are_looked_at(bundle: Bundle) -> None:
    with serve(bundle, max_queue_images=1, max_batch_size=1) as server, connect(server) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        server.gates[0].hold()
        calls = [stub.ModelInfer.future(request(RED)) for _ in range(4)]
        assert eventually(lambda: sum(call.done() for call in calls) >= 2)
        refused = [call for call in calls if call.done()]
        assert {call.code() for call in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        server.gates[0].opened.set()
        answered = [call for call in calls if call not in refused]
        assert [len(floats(call.result(timeout=10))) for call in answered] == [1] * len(answered)


def test_messages_and_bodies_under_way_share_one_limit_on_memory(bundle: Bundle) -> None:
    with serve(bundle, max_held_bytes=300_000) as server, connect(server) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        server.gates[0].hold()
        first = stub.ModelInfer.future(request(RED))
        assert server.gates[0].entered.acquire(timeout=10)
        code, message = code_and_message(lambda: stub.ModelInfer(request(RED)))
        over_http = httpx.post(f"http://{server.http}/predict", content=bytes(40_000), headers=PNG, trust_env=False)
        server.gates[0].opened.set()
        assert len(floats(first.result(timeout=10))) == 1
        # What it held is free again.
        assert len(floats(stub.ModelInfer(request(RED)))) == 1
    assert (code, "would hold more than 300000 bytes" in message) == ("RESOURCE_EXHAUSTED", True)
    assert (over_http.status_code, over_http.json()["error"]["limit"]) == (429, "300000 bytes")


def test_calls_that_do_not_even_fit_beside_the_refused_are_not_read(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brainmri.batching.admission._MORE_RPCS", -1)
    monkeypatch.setattr("brainmri.batching.admission.MAX_STREAMS", 0)
    with serve(bundle, max_queue_images=1, max_batch_size=1) as server, connect(server) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        server.gates[0].hold()
        first = stub.ModelInfer.future(request(RED))
        assert server.gates[0].entered.acquire(timeout=10)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ServerLive(pb.ServerLiveRequest())
        server.gates[0].opened.set()
        assert len(floats(first.result(timeout=10))) == 1
        # It counts no longer.
        assert stub.ServerLive(pb.ServerLiveRequest()).live
    metadata, retry = trailing(caught.value), error_details_pb2.RetryInfo()
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    assert status.details[1].Unpack(retry)
    assert (caught.value.code().name, caught.value.details()) == (
        "RESOURCE_EXHAUSTED",
        "1 requests are under way, the most that are accepted. Try again in a second.",
    )
    assert (retry.retry_delay.ToMilliseconds(), metadata["retry-after"]) == (1000, "1")


def test_the_clients_deadline_ends_the_work(bundle: Bundle) -> None:
    with serve(bundle, max_batch_size=1) as server, connect(server) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        first = held(server)
        code, _ = code_and_message(lambda: stub.ModelInfer(request(RED), timeout=0.3))
        assert code == "DEADLINE_EXCEEDED"
        nothing_more_ran(server, first)


def test_a_cancelled_call_is_not_run(bundle: Bundle) -> None:
    with serve(bundle, max_batch_size=1) as server, connect(server) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        first = held(server)
        call = stub.ModelInfer.future(request(RED))
        assert eventually(lambda: server.sample("brainmri_queue_images") == 1)
        call.cancel()
        assert eventually(lambda: server.sample("brainmri_rpcs_total", method=METHOD, code="CANCELLED") == 1)
        nothing_more_ran(server, first)


def nothing_more_ran(server: Served, first: Callable[[], list[Any]]) -> None:
    """Opens the gate: the image that was held and one more are run, and nothing between them."""
    server.gates[0].opened.set()
    first()
    assert len(server.run(server.engine.infer(asked(server.engine, Deadline.after(30)), tensor_of(GREEN)))) == 1
    assert server.gates[0].images == 2


def test_the_servers_own_limit_holds_for_clients_without_a_deadline(bundle: Bundle) -> None:
    with serve(bundle, request_timeout_s=0.3) as server, connect(server) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        server.gates[0].hold()
        code, message = code_and_message(lambda: stub.ModelInfer(request(RED)))
    assert code == "DEADLINE_EXCEEDED"
    assert "within 0.3 s" in message


def test_a_network_that_fails_is_an_internal_error_that_tells_nothing(bundle: Bundle) -> None:
    with serve(bundle) as server, connect(server) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

        def fail(_: object) -> None:
            raise RuntimeError("secret")

        server.gates[0].infer = fail  # type: ignore[method-assign,assignment]
        code, message = code_and_message(lambda: stub.ModelInfer(request(RED)))
    assert code == "INTERNAL"
    assert "secret" not in message


def test_an_unexpected_error_is_internal_and_tells_nothing(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    with serve(bundle) as server, connect(server) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("secret")

        server.engine.infer = fail  # type: ignore[method-assign,assignment]
        code, message = code_and_message(lambda: stub.ModelInfer(request(RED)))
    assert (code, "secret" in message) == ("INTERNAL", False)
    assert "secret" in caplog.text


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_with_keys_calls_need_one_but_probes_and_reflection_do_not(bundle: Bundle, tmp_path: Path, header: str) -> None:
    file = tmp_path / "keys"
    key, hashed = new_key("tester")
    with edit_keys(file) as keys:
        keys["tester"] = hashed
    ring = KeyRing(file)
    ring.load()
    with serve(bundle, keys=ring) as server, connect(server) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        sent = [(header, f"Bearer {key}" if header == "authorization" else key)]
        assert len(floats(stub.ModelInfer(request(RED), metadata=sent))) == 1
        for refused in ([], [(header, "Bearer wrong")], [(header, "wrong")]):
            assert code_and_message(lambda given=refused: stub.ModelInfer(request(RED), metadata=given))[0] == (  # type: ignore[misc]
                "UNAUTHENTICATED"
            )
        metadata = pb.ModelMetadataRequest(name="brain_mri")
        assert code_and_message(lambda: stub.ModelMetadata(metadata))[0] == "UNAUTHENTICATED"
        # Before it is parsed: a stranger's message costs no more than its bytes.
        assert code_and_message(lambda: channel.unary_unary(f"/{METHOD}")(b"\xff"))[0] == "UNAUTHENTICATED"
        assert stub.ServerReady(pb.ServerReadyRequest()).ready
        assert stub.ModelReady(pb.ModelReadyRequest(name="brain_mri")).ready
        assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status == SERVING
        assert len(list(ProtoReflectionDescriptorDatabase(channel).get_services())) == 4


def drain(server: Served, grace_s: float) -> Callable[[], None]:
    return server.begin(server.grpc.drain(grace_s))


def test_draining_answers_what_was_accepted_and_refuses_the_rest(bundle: Bundle) -> None:
    with serve(bundle) as server, connect(server) as channel, connect(server) as watching:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        watch = health_pb2_grpc.HealthStub(watching).Watch(health_pb2.HealthCheckRequest(), timeout=20)
        assert next(watch).status == SERVING
        server.gates[0].hold()
        calls = [stub.ModelInfer.future(request(colour)) for colour in COLOURS.values()]
        assert server.gates[0].entered.acquire(timeout=10)
        stub.ServerReady(pb.ServerReadyRequest())
        drained = drain(server, 20)
        assert [status.status for status in watch] == [NOT_SERVING]
        with connect(server) as late:
            code, _ = code_and_message(lambda: service_pb2_grpc.GRPCInferenceServiceStub(late).ModelInfer(request(RED)))
        server.gates[0].opened.set()
        drained()
        answers = [floats(call.result(timeout=10))[0] for call in calls]
    assert code == "UNAVAILABLE"
    assert np.array(answers) == pytest.approx(tiny_probabilities(*COLOURS.values()), abs=1e-6)


def test_draining_ends_within_its_grace_also_when_a_call_does_not(bundle: Bundle) -> None:
    with serve(bundle) as server, connect(server) as channel:
        server.gates[0].hold()
        call = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer.future(request(RED))
        assert server.gates[0].entered.acquire(timeout=10)
        drain(server, 0.2)()
        assert call.exception(timeout=10) is not None


def test_draining_answers_a_call_whose_message_was_still_on_its_way(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OneMore(UnderWay):
        """A call is accepted right after all others were answered, and takes longer than the lingering."""

        answered = False
        late: asyncio.TimerHandle | None = None

        async def wait_until_none(self) -> None:
            await super().wait_until_none()
            if self.late is None:
                self.enter()
                self.late = asyncio.get_running_loop().call_later(0.5, self.answer)
                made.append(self)

        def answer(self) -> None:
            self.answered = True
            self.leave()

    made: list[OneMore] = []
    monkeypatch.setattr("brainmri.batching.admission.UnderWay", OneMore)
    with serve(bundle) as server:
        drain(server, 20)()
        assert [call.answered for call in made] == [True]


def test_an_open_reflection_stream_does_not_hold_up_draining(bundle: Bundle) -> None:
    with serve(bundle) as server, connect(server) as channel:
        ProtoReflectionDescriptorDatabase(channel).get_services()
        started = server.loop.time()
        drain(server, 20)()
        assert server.loop.time() - started < 10


def test_a_connection_of_age_is_closed_and_its_calls_are_answered(bundle: Bundle) -> None:
    with serve(bundle, age_s=0.3) as server, connect(server) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        states: list[Any] = []
        channel.subscribe(states.append)
        server.gates[0].hold()
        call = stub.ModelInfer.future(request(RED))
        assert eventually(lambda: grpc.ChannelConnectivity.IDLE in states[1:])
        assert not call.done()
        server.gates[0].opened.set()
        assert floats(call.result(timeout=10)) == pytest.approx(tiny_probabilities(RED), abs=1e-6)


def build(engine: Engine, **changes: Any) -> GrpcServer:
    metrics = Metrics()
    return GrpcServer(DataPlane(engine, Settings(**changes), metrics), metrics)


def start(servers: Sequence[GrpcServer]) -> list[int]:
    async def both() -> list[int]:
        try:
            for server in servers:
                await server.start()
            return [server.port for server in servers]
        finally:
            for server in servers:
                await server.drain(1)

    return asyncio.run(both())


def test_two_servers_share_a_port_only_as_workers_of_one_service() -> None:
    port = free_port()

    async def engines() -> list[Engine]:
        return [Engine(1), Engine(1)]

    first, second = asyncio.run(engines())
    assert start([build(engine, grpc_port=port, workers=2) for engine in (first, second)]) == [port, port]
    with pytest.raises(InvalidSettings, match=f"cannot listen on 127.0.0.1:{port}"):
        start([build(engine, grpc_port=port) for engine in (first, second)])


def test_port_0_switches_the_server_off() -> None:
    async def engine() -> Engine:
        return Engine(1)

    assert start([build(asyncio.run(engine()), grpc_port=0)]) == [0]


def test_many_callers_at_once_each_get_their_own_answer(server: Served, stub: Any) -> None:
    colours = list(COLOURS.values())
    wrong: list[Any] = []

    def call(number: int) -> None:
        for step in range(10):
            colour = colours[(number + step) % 4]
            if floats(stub.ModelInfer(request(colour))) != pytest.approx(tiny_probabilities(colour), abs=1e-6):
                wrong.append((number, step))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_ports_are_free_again_after_draining(bundle: Bundle) -> None:
    with serve(bundle) as server:
        port = server.grpc.port
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
