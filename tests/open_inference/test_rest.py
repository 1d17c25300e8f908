import asyncio
import base64
import gzip
import json
import socket
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import httpx
import numpy as np
import pytest

from brainmri import __version__
from brainmri.batching.call import Deadline
from brainmri.model.bundle import Bundle
from brainmri.model.contract import NOTICE
from brainmri.open_inference.tensors import pack_elements, unpack_elements
from tests.batching.stand_in import asked
from tests.open_inference.served import COLOURS, SIDE, Served, eventually, serve, tensor_of, tiny_probabilities
from tests.tiny import write_tiny_bundle

RED, GREEN = COLOURS["glioma"], COLOURS["meningioma"]
HEADER_LENGTH = "Inference-Header-Content-Length"

Png = Callable[..., bytes]


def url(server: Served, path: str) -> str:
    return f"http://{server.http}/v2{path}"


def get(server: Served, path: str) -> httpx.Response:
    return httpx.get(url(server, path), trust_env=False)


def infer(server: Served, body: object, path: str = "/models/brain_mri/infer", **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(url(server, path), content=content, headers=headers, timeout=30, trust_env=False)


def infer_binary(
    server: Served, body: dict[str, Any], tail: bytes, path: str = "/models/brain_mri/infer", **headers: str
) -> httpx.Response:
    head = json.dumps(body).encode()
    return infer(server, head + tail, path, **{HEADER_LENGTH: str(len(head)), **headers})


def image_input(batch: int = 1, **more: Any) -> dict[str, Any]:
    return {"name": "image", "datatype": "UINT8", "shape": [batch, SIDE, SIDE, 3], **more}


def files_input(count: int = 1, **more: Any) -> dict[str, Any]:
    return {"name": "image", "datatype": "BYTES", "shape": [count, 1], **more}


def binary(size: int) -> dict[str, Any]:
    return {"parameters": {"binary_data_size": size}}


def values_of(response: httpx.Response, index: int = 0) -> list[Any]:
    assert response.status_code == 200, response.text
    return list(response.json()["outputs"][index]["data"])


def split(response: httpx.Response) -> tuple[dict[str, Any], bytes]:
    """Returns the JSON and the tail of a binary answer."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/octet-stream"
    length = int(response.headers[HEADER_LENGTH])
    return json.loads(response.content[:length]), response.content[length:]


def test_health(server: Served) -> None:
    assert [get(server, f"/health/{probe}").json() for probe in ("live", "ready")] == [{"live": True}, {"ready": True}]
    assert get(server, "/models/brain_mri/ready").json() == {"name": "brain_mri", "ready": True}
    assert get(server, "/models/brain_mri_image/versions/0.0.1/ready").status_code == 200


def test_the_server_says_who_it_is(server: Served) -> None:
    assert get(server, "").json() == {
        "name": "brainmri",
        "version": __version__,
        "extensions": [
            "binary_tensor_data",
            "classification",
            "model_configuration",
            "schedule_policy",
            "statistics",
        ],
    }


@pytest.mark.parametrize("version", ["", "/versions/0.0.1"])
def test_the_metadata_of_both_models(server: Served, version: str) -> None:
    common = {"versions": ["0.0.1"], "platform": "openvino-f32"}
    probabilities = {"name": "probabilities", "datatype": "FP32", "shape": [-1, 4]}
    assert get(server, f"/models/brain_mri{version}").json() == {
        "name": "brain_mri",
        **common,
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 299, 299, 3]}],
        "outputs": [probabilities],
    }
    assert get(server, f"/models/brain_mri_image{version}").json() == {
        "name": "brain_mri_image",
        **common,
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [
            probabilities,
            {"name": "label", "datatype": "BYTES", "shape": [-1, 1]},
            {"name": "novelty", "datatype": "FP32", "shape": [-1, 1]},
            {"name": "source", "datatype": "BYTES", "shape": [-1, 1]},
        ],
    }


def test_the_configuration_tells_what_image_clients_look_for(server: Served) -> None:
    config = get(server, "/models/brain_mri/config").json()
    assert config["max_batch_size"] == 8
    assert config["input"] == [
        {"name": "image", "data_type": "TYPE_UINT8", "dims": [299, 299, 3], "format": "FORMAT_NHWC"}
    ]
    assert config["output"] == [{"name": "probabilities", "data_type": "TYPE_FP32", "dims": [4]}]
    files = get(server, "/models/brain_mri_image/config").json()
    assert files["input"] == [{"name": "image", "data_type": "TYPE_STRING", "dims": [1], "format": "FORMAT_NONE"}]


@pytest.mark.parametrize("nested", [False, True])
def test_numbers_in_json_flat_or_nested(server: Served, nested: bool) -> None:
    data = tensor_of(RED, GREEN)
    body = {"id": "7", "inputs": [image_input(2, data=data.tolist() if nested else data.ravel().tolist())]}
    response = infer(server, body)
    answer = response.json()
    assert answer.pop("outputs") == [
        {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": [2, 4],
            "data": pytest.approx(tiny_probabilities(RED, GREEN).ravel().tolist(), abs=1e-6),
        }
    ]
    assert answer == {"model_name": "brain_mri", "model_version": "0.0.1", "id": "7", "parameters": {"notice": NOTICE}}
    assert HEADER_LENGTH not in response.headers


def test_an_answer_has_an_id_only_if_the_request_has_one(server: Served) -> None:
    body = {"inputs": [image_input(**binary(SIDE * SIDE * 3))]}
    assert "id" not in infer_binary(server, body, tensor_of(RED).tobytes()).json()


def test_a_binary_tensor_and_a_binary_answer(server: Served) -> None:
    data = tensor_of(GREEN, RED).tobytes()
    body = {"inputs": [image_input(2, **binary(len(data)))], "parameters": {"binary_data_output": True}}
    head, tail = split(infer_binary(server, body, data))
    assert head["outputs"] == [
        {"name": "probabilities", "datatype": "FP32", "shape": [2, 4], "parameters": {"binary_data_size": 32}}
    ]
    assert np.frombuffer(tail, "<f4").reshape(2, 4) == pytest.approx(tiny_probabilities(GREEN, RED), abs=1e-6)


def test_files_in_json_are_base64_and_novelty_is_null_without_a_detector(server: Served, png: Png) -> None:
    texts = [base64.b64encode(png(colour)).decode() for colour in COLOURS.values()]
    response = infer(server, {"inputs": [files_input(4, data=texts)]}, "/models/brain_mri_image/infer")
    expected = tiny_probabilities(*COLOURS.values()).ravel().tolist()
    assert values_of(response, 0) == pytest.approx(expected, abs=1e-6)
    assert values_of(response, 1) == list(COLOURS)
    assert values_of(response, 2) == [None] * 4
    assert [output["shape"] for output in response.json()["outputs"]] == [[4, 4], [4, 1], [4, 1]]


def test_each_output_chooses_its_own_form_and_place(server: Served, png: Png) -> None:
    tail = pack_elements([png(RED), png(GREEN)])
    body = {
        "inputs": [files_input(2, **binary(len(tail)))],
        "outputs": [
            {"name": "novelty", "parameters": {"binary_data": True}},
            {"name": "label", "parameters": {"binary_data": True}},
            {"name": "probabilities", "parameters": {"binary_data": False, "classification": 1}},
        ],
        "parameters": {"binary_data_output": True},
    }
    head, rest = split(infer_binary(server, body, tail, "/models/brain_mri_image/infer"))
    novelty, label, probabilities = head["outputs"]
    assert np.isnan(np.frombuffer(rest[:8], "<f4")).all()
    assert unpack_elements(rest[8:], 2) == [b"glioma", b"meningioma"]
    assert (novelty["parameters"], label["parameters"]) == (
        {"binary_data_size": 8},
        {"binary_data_size": len(rest) - 8},
    )
    assert probabilities == {
        "name": "probabilities",
        "datatype": "BYTES",
        "shape": [2, 1],
        "data": ["0.976005:0:glioma", "0.976005:1:meningioma"],
    }


def test_a_raw_image_is_a_whole_body(server: Served, png: Png) -> None:
    response = infer(server, png(GREEN), "/models/brain_mri_image/infer", **{HEADER_LENGTH: "0"})
    assert values_of(response, 1) == ["meningioma"]


def test_raw_pixels_are_a_whole_body_of_as_many_images_as_they_fill(server: Served) -> None:
    response = infer(server, tensor_of(RED, GREEN).tobytes(), **{HEADER_LENGTH: "0"})
    assert values_of(response) == pytest.approx(tiny_probabilities(RED, GREEN).ravel().tolist(), abs=1e-6)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_request(server: Served, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    data = tensor_of(GREEN).tobytes()
    head = json.dumps({"inputs": [image_input(**binary(len(data)))]}).encode()
    headers = {HEADER_LENGTH: str(len(head)), "Content-Encoding": encoding}
    assert values_of(infer(server, pack(head + data), **headers))[1] == pytest.approx(0.976005, abs=1e-6)


def test_a_large_answer_is_compressed_for_clients_that_accept_it(bundle: Bundle) -> None:
    classes = {"name": "probabilities", "parameters": {"classification": 4}}
    body = {"inputs": [image_input(20, **binary(20 * SIDE * SIDE * 3))], "outputs": [classes]}
    tail = tensor_of(*[RED] * 20).tobytes()
    with serve(bundle) as server:
        plain = infer_binary(server, body, tail, **{"Accept-Encoding": "identity"})
        packed = infer_binary(server, body, tail, **{"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 4
    assert packed.json() == plain.json()


def refusals() -> list[Any]:
    size = SIDE * SIDE * 3
    image = image_input(**binary(size))
    cases: dict[str, tuple[dict[str, Any] | bytes, str]] = {
        "not JSON": (b"\x89PNG", "not JSON"),
        "deep JSON": (b"[" * 90_000, "not JSON"),
        "no inputs": ({}, "inputs: Field required"),
        "two inputs": ({"inputs": [image_input(data=[1]), image_input(data=[1])]}, "2 inputs; the model takes one"),
        "text for a shape": ({"inputs": [image_input() | {"shape": ["1"]}]}, "inputs.0.shape.0"),
        "no content": ({"inputs": [image_input()]}, "needs either data in the JSON or a binary_data_size"),
        "both contents": ({"inputs": [{**image, "data": [1]}]}, "bytes follow the JSON"),
        "too little data": ({"inputs": [image_input(data=[1, 2])]}, "holds 2 values"),
        "text for data": ({"inputs": [image_input(data="[1]")]}, "must be a list of integers from 0 to 255"),
        "fractions": ({"inputs": [image_input(data=[0.5])]}, "must be a list of integers from 0 to 255"),
        "many fractions": ({"inputs": [image_input(data=[0.5] * 100_001)]}, "more than 100000 values"),
        "many lists": (b'{"inputs":' + b"[" * 100_001, "more than 100000 values"),
        "large numbers": ({"inputs": [image_input(data=[256])]}, "integers from 0 to 255"),
        "channels first": (
            {"inputs": [image_input(data=np.zeros((1, 3, SIDE, SIDE), np.uint8).tolist())]},
            "neither flat nor nested as [1, 299, 299, 3]",
        ),
        "numbers for files": ({"inputs": [files_input(data=[1])]}, "takes 'image' UINT8"),
        "no such bytes": ({"inputs": [image]}, "0 bytes follow the JSON"),
        "negative size": ({"inputs": [image_input(**binary(-1))]}, "binary_data_size"),
        "another datatype": ({"inputs": [image_input(data=[1]) | {"datatype": "FP32"}]}, "takes 'image' UINT8"),
        "another name": ({"inputs": [image_input(data=[1]) | {"name": "x"}]}, "takes 'image' UINT8"),
        "unknown output": ({"inputs": [image_input(data=[1])], "outputs": [{"name": "x"}]}, "has no output 'x'"),
        "one output twice": (
            {"inputs": [image_input(data=[1])], "outputs": [{"name": "probabilities"}] * 9000},
            "asked for twice",
        ),
        "shared memory": (
            {"inputs": [image_input(parameters={"shared_memory_region": "a"})]},
            "Shared memory is not offered",
        ),
        "no classes": (
            {
                "inputs": [image_input(data=[1])],
                "outputs": [{"name": "probabilities", "parameters": {"classification": 0}}],
            },
            "must be at least 1",
        ),
        "endless timeout": (
            {"inputs": [image_input(data=[1])], "parameters": {"timeout": 10**400}},
            "parameters.timeout",
        ),
        "endless sizes": ({"inputs": [image_input(**binary(10**4300 - 1))] * 2}, "binary_data_size"),
        "half a surrogate pair": (
            json.dumps({"inputs": [image_input(data=[1]) | {"datatype": "\ud800"}]}).encode(),
            "not JSON",
        ),
        "half a surrogate pair in a name": (
            b'{"inputs":[{"name":"\\udfff","datatype":"UINT8","shape":[1],"data":[1]}]}',
            "not JSON",
        ),
        "control characters": (
            {"inputs": [image_input(data=[1]) | {"datatype": "\x1b[31m\u2028"}]},
            r"\x1b[31m\u2028; the model takes",
        ),
        "long id": ({"inputs": [image_input(data=[1])], "id": "x" * 257}, "at most 256 characters"),
        "endless shape": ({"inputs": [image_input(data=[1]) | {"shape": [10**18] * 90_000}]}, "inputs.0.shape"),
        "priority": ({"inputs": [image_input(data=[1])], "parameters": {"priority": 3}}, "must be 1"),
        "timeout": ({"inputs": [image_input(data=[1])], "parameters": {"timeout": -1}}, "must not be negative"),
    }
    return [pytest.param(*case, id=name) for name, case in cases.items()]


@pytest.mark.parametrize(("body", "sentence"), refusals())
def test_a_bad_request_gets_400_and_a_sentence(server: Served, body: dict[str, Any] | bytes, sentence: str) -> None:
    response = infer(server, body)
    assert (response.status_code, list(response.json())) == (400, ["error"])
    assert sentence in response.json()["error"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [("-1", "'-1'"), ("x", "'x'"), ("99", "is 99, but the body has 2 bytes"), ("1", "not JSON")],
)
def test_a_bad_header_length_gets_400(server: Served, given: str, sentence: str) -> None:
    response = infer(server, b"{}", **{HEADER_LENGTH: given})
    assert response.status_code == 400
    assert sentence in response.json()["error"]


@pytest.mark.parametrize("data", [[1], [], [0.5], "aGk=", [["aGk="], ["aGk="]], [["aGk="], 5]], ids=json.dumps)
def test_other_data_for_a_file_gets_400(server: Served, data: object) -> None:
    response = infer(server, {"inputs": [files_input(data=data)]}, "/models/brain_mri_image/infer")
    assert (response.status_code, list(response.json())) == (400, ["error"])


def test_a_label_cannot_be_classified(server: Served, png: Png) -> None:
    body = {
        "inputs": [files_input(data=[base64.b64encode(png()).decode()])],
        "outputs": [{"name": "label", "parameters": {"classification": 2}}],
    }
    response = infer(server, body, "/models/brain_mri_image/infer")
    assert response.status_code == 400
    assert "Only the output 'probabilities' can be classified" in response.json()["error"]


def test_one_corrupt_file_fails_its_request_and_is_named(server: Served, png: Png) -> None:
    tail = pack_elements([png(), b"\x89PNG\r\n\x1a\n truncated", png()])
    body = {"inputs": [files_input(3, **binary(len(tail)))]}
    response = infer_binary(server, body, tail, "/models/brain_mri_image/infer")
    assert response.status_code == 400
    assert response.json()["error"].startswith("Element 1 of the input: ")


def test_limits_on_bytes_and_images_get_413(server: Served) -> None:
    too_long = infer(server, bytes(3_000_001))
    too_many = infer(server, {"inputs": [image_input(9, data=[1])]})
    file = infer(server, bytes(100_001), "/models/brain_mri_image/infer", **{HEADER_LENGTH: "0"})
    assert [response.status_code for response in (too_long, too_many, file)] == [413] * 3
    assert "at most 3000000" in too_long.json()["error"]
    assert "may hold 8 images" in too_many.json()["error"]
    assert "at most 100000" in file.json()["error"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/models/other", 404),
        ("/models/other/ready", 404),
        ("/models/brain_mri/versions/9", 404),
        ("/models/brain_mri/versions/9/config", 404),
        ("/models/other/stats", 404),
        ("/nothing", 404),
        ("/models/brain_mri/infer", 405),
    ],
)
def test_unknown_models_and_paths_get_the_shape_of_the_protocol(server: Served, path: str, status: int) -> None:
    response = get(server, path)
    assert (response.status_code, list(response.json())) == (status, ["error"])
    assert isinstance(response.json()["error"], str)


def test_an_unknown_model_is_answered_with_those_that_are_served(server: Served) -> None:
    error = infer(server, b"", "/models/brain_mri/versions/9/infer").json()["error"]
    assert error == (
        "No model 'brain_mri' of version '9' is served. Choose one of brain_mri (version 0.0.1), brain_mri_image"
        " (version 0.0.1)."
    )


def test_statistics_count_requests_images_and_times(bundle: Bundle, png: Png) -> None:
    with serve(bundle) as server:
        infer_binary(
            server, {"inputs": [image_input(3, **binary(3 * SIDE * SIDE * 3))]}, tensor_of(RED, RED, RED).tobytes()
        )
        infer(server, {"inputs": [image_input(data=[1])]})
        infer(server, png(), "/models/brain_mri_image/infer", **{HEADER_LENGTH: "0"})
        tensors, files = get(server, "/models/stats").json()["model_stats"]
        assert get(server, "/models/brain_mri/stats").json() == {"model_stats": [tensors]}
    assert (tensors["name"], tensors["inference_count"], tensors["execution_count"]) == ("brain_mri", 3, 1)
    assert (files["name"], files["inference_count"], files["execution_count"]) == ("brain_mri_image", 1, 1)
    stats = tensors["inference_stats"]
    assert (stats["success"]["count"], stats["fail"]["count"], stats["queue"]["count"]) == (1, 1, 1)
    assert 0 < stats["compute_infer"]["ns"] < stats["success"]["ns"]
    assert files["inference_stats"]["compute_input"]["ns"] > 0


def test_several_bundles_are_told_apart_by_name_and_version(
    bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("others")
    newer = write_tiny_bundle(folder / "newer", folder / "a", version="0.0.2", temperature=1.0)
    other = write_tiny_bundle(folder / "other", folder / "b", name="other", serving_name="other")
    with serve(bundle, newer, other) as server:
        assert get(server, "/models/brain_mri").json()["versions"] == ["0.0.1", "0.0.2"]
        index = httpx.post(url(server, "/repository/index"), trust_env=False).json()
        body = {"inputs": [image_input(**binary(SIDE * SIDE * 3))]}
        paths = ("/models/brain_mri", "/models/brain_mri/versions/0.0.2", "/models/other")
        answers = [infer_binary(server, body, tensor_of(RED).tobytes(), f"{path}/infer").json() for path in paths]
    assert [(entry["name"], entry["version"], entry["state"]) for entry in index] == [
        ("brain_mri", "0.0.1", "READY"),
        ("brain_mri_image", "0.0.1", "READY"),
        ("brain_mri", "0.0.2", "READY"),
        ("brain_mri_image", "0.0.2", "READY"),
        ("other", "0.0.1", "READY"),
        ("other_image", "0.0.1", "READY"),
    ]
    assert [(answer["model_name"], answer["model_version"]) for answer in answers] == [
        ("brain_mri", "0.0.1"),
        ("brain_mri", "0.0.2"),
        ("other", "0.0.1"),
    ]
    # The newer bundle is sharper by its temperature.
    best = [answer["outputs"][0]["data"][0] for answer in answers]
    assert best == pytest.approx([0.976005, 0.999786, 0.976005], abs=1e-6)


def test_a_server_that_loads_its_model_is_live_but_not_ready(bundle: Bundle) -> None:
    with serve(bundle, ready=False) as server:
        live, ready, infer_ = get(server, "/health/live"), get(server, "/health/ready"), infer(server, {})
        model = get(server, "/models/brain_mri/ready")
    assert (live.status_code, live.json()) == (200, {"live": True})
    assert (ready.status_code, ready.json()) == (503, {"ready": False})
    assert (infer_.status_code, model.status_code) == (503, 503)
    assert infer_.headers["retry-after"] == "5"


def test_a_full_server_answers_429_with_retry_after(bundle: Bundle) -> None:
    with serve(bundle, max_queue_images=1, max_batch_size=1) as server:
        gate = server.gates[0]
        gate.hold()
        runs = server.begin(server.engine.infer(asked(server.engine, Deadline.after(30)), tensor_of(RED)))
        assert gate.entered.acquire(timeout=10)
        queued = server.begin(server.engine.infer(asked(server.engine, Deadline.after(30)), tensor_of(RED)))
        body = {"inputs": [image_input(**binary(SIDE * SIDE * 3))]}
        response = infer_binary(server, body, tensor_of(RED).tobytes())
        gate.opened.set()
        assert [len(runs()), len(queued())] == [1, 1]
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1


def test_slow_uploads_do_not_keep_others_out(bundle: Bundle) -> None:
    with serve(bundle, max_queue_images=1, max_batch_size=1) as server, ExitStack() as connections:
        for _ in range(3):
            slow = connections.enter_context(socket.create_connection(("127.0.0.1", server.http_port), timeout=10))
            slow.sendall(b"POST /v2/models/brain_mri/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n")
            slow.sendall(b"Expect: 100-continue\r\n\r\n")
            # The server asks for the body: the request is under way.
            assert slow.recv(100).startswith(b"HTTP/1.1 100")
        body = {"inputs": [image_input(**binary(SIDE * SIDE * 3))]}
        assert infer_binary(server, body, tensor_of(RED).tobytes()).status_code == 200


def test_the_timeout_parameter_and_the_header_end_a_request_with_504(bundle: Bundle) -> None:
    with serve(bundle) as server:
        gate = server.gates[0]
        gate.hold()
        tail = tensor_of(RED).tobytes()
        parameter = {"inputs": [image_input(**binary(len(tail)))], "parameters": {"timeout": 200_000}}
        answers = [
            infer_binary(server, parameter, tail),
            infer_binary(server, {"inputs": parameter["inputs"]}, tail, **{"X-Request-Timeout-Ms": "200"}),
        ]
    assert [(answer.status_code, "0.2 s" in answer.json()["error"]) for answer in answers] == [(504, True)] * 2


def test_nothing_is_run_for_a_client_that_has_left(bundle: Bundle) -> None:
    with serve(bundle, max_batch_size=1) as server:
        gate = server.gates[0]
        gate.hold()
        first = server.begin(server.engine.infer(asked(server.engine, Deadline.after(30)), tensor_of(RED)))
        assert gate.entered.acquire(timeout=10)
        tail = tensor_of(RED).tobytes()
        head = json.dumps({"inputs": [image_input(**binary(len(tail)))]}).encode()

        async def leave() -> None:
            async with httpx.AsyncClient(trust_env=False) as client:
                with pytest.raises(httpx.ReadTimeout):
                    await client.post(
                        url(server, "/models/brain_mri/infer"),
                        content=head + tail,
                        headers={HEADER_LENGTH: str(len(head))},
                        timeout=0.3,
                    )

        asyncio.run(leave())
        assert eventually(lambda: failures(server) == 1)
        gate.opened.set()
        first()
        assert len(server.run(server.engine.infer(asked(server.engine, Deadline.after(30)), tensor_of(GREEN)))) == 1
        # The one that was held, and the one afterwards; not the one in between.
        assert (failures(server), gate.images) == (1, 2)


def failures(server: Served) -> int:
    (statistics,) = get(server, "/models/brain_mri/stats").json()["model_stats"]
    return int(statistics["inference_stats"]["fail"]["count"])
