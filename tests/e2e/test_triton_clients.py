"""Triton's own clients, over HTTP and gRPC, sync and asyncio, on real ports: none of their code is ours."""

import asyncio
import base64
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from tritonclient.utils import InferenceServerException

from tests.open_inference.served import COLOURS, SIDE, Served, serve, tensor_of, tiny_probabilities
from tests.tiny import write_tiny_bundle

RED, GREEN, BLACK, BLUE = COLOURS.values()
SYNC = {"http": triton_http, "grpc": triton_grpc}
AIO = {"http": triton_http_aio, "grpc": triton_grpc_aio}

Png = Callable[..., bytes]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("bundle")
    with serve(write_tiny_bundle(folder / "bundle", folder), max_request_images=16) as served:
        yield served


def address(server: Served, protocol: str) -> str:
    return server.grpc_address if protocol == "grpc" else server.http


@pytest.fixture(params=["http", "grpc"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(server: Served, protocol: str) -> Iterator[Any]:
    with SYNC[protocol].InferenceServerClient(address(server, protocol)) as client:
        yield client


def pixels_input(protocol: str, *colours: tuple[int, int, int], **form: Any) -> Any:
    given = SYNC[protocol].InferInput("image", [len(colours), SIDE, SIDE, 3], "UINT8")
    given.set_data_from_numpy(tensor_of(*colours), **form)
    return given


def files_input(protocol: str, *files: bytes, **form: Any) -> Any:
    given = SYNC[protocol].InferInput("image", [len(files), 1], "BYTES")
    given.set_data_from_numpy(np.array(files, np.object_).reshape(-1, 1), **form)
    return given


def as_dict(answer: Any) -> Any:
    """Returns a gRPC message as what HTTP answers."""
    if isinstance(answer, dict | list):
        return answer
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415

    return MessageToDict(answer, preserving_proto_field_name=True)


def test_health(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("brain_mri")
    assert client.is_model_ready("brain_mri_image", "0.0.1")


def test_metadata_and_configuration_are_what_triton_s_image_client_demands(client: Any) -> None:
    metadata, config = as_dict(client.get_model_metadata("brain_mri")), as_dict(client.get_model_config("brain_mri"))
    config = config.get("config", config)
    (given,), (answer,) = metadata["inputs"], metadata["outputs"]
    assert (answer["datatype"], [int(side) for side in answer["shape"]]) == ("FP32", [-1, 4])
    assert (given["datatype"], [int(side) for side in given["shape"]]) == ("UINT8", [-1, SIDE, SIDE, 3])
    assert config["max_batch_size"] == 16
    assert config["input"][0]["format"] == "FORMAT_NHWC"
    assert as_dict(client.get_server_metadata())["name"] == "brainmri"


def test_repository_index_and_statistics(client: Any, protocol: str) -> None:
    index = as_dict(client.get_model_repository_index())
    index = index if isinstance(index, list) else index["models"]
    assert {(entry["name"], entry["version"], entry["state"]) for entry in index} == {
        ("brain_mri", "0.0.1", "READY"),
        ("brain_mri_image", "0.0.1", "READY"),
    }

    def images() -> int:
        (stats,) = as_dict(client.get_inference_statistics("brain_mri"))["model_stats"]
        return int(stats.get("inference_count", 0))

    before = images()
    client.infer("brain_mri", [pixels_input(protocol, RED, GREEN)])
    assert images() == before + 2
    assert len(as_dict(client.get_inference_statistics())["model_stats"]) == 2


def test_pixels(client: Any, protocol: str) -> None:
    result = client.infer("brain_mri", [pixels_input(protocol, *COLOURS.values())], request_id="42")
    assert result.as_numpy("probabilities") == pytest.approx(tiny_probabilities(*COLOURS.values()), abs=1e-6)
    assert as_dict(result.get_response())["id"] == "42"


def test_files_with_every_output(client: Any, protocol: str, png: Png) -> None:
    files = [png(colour) for colour in COLOURS.values()]
    result = client.infer("brain_mri_image", [files_input(protocol, *files)], model_version="0.0.1")
    assert result.as_numpy("probabilities") == pytest.approx(tiny_probabilities(*COLOURS.values()), abs=1e-6)
    assert result.as_numpy("label").tolist() == [[label.encode()] for label in COLOURS]
    assert np.isnan(result.as_numpy("novelty")).tolist() == [[True]] * 4


def test_chosen_outputs_and_classification(client: Any, protocol: str, png: Png) -> None:
    kind = SYNC[protocol].InferRequestedOutput
    outputs = [kind("label"), kind("probabilities", class_count=2)]
    result = client.infer("brain_mri_image", [files_input(protocol, png(BLUE))], outputs=outputs)
    assert result.as_numpy("label").tolist() == [[b"pituitary"]]
    assert result.as_numpy("probabilities").tolist() == [[b"0.976005:3:pituitary", b"0.010842:2:notumor"]]
    assert result.as_numpy("novelty") is None


def test_refusals_carry_the_sentence(client: Any, protocol: str, png: Png) -> None:
    with pytest.raises(InferenceServerException) as corrupt:
        client.infer("brain_mri_image", [files_input(protocol, png(), b"not an image")])
    with pytest.raises(InferenceServerException) as unknown:
        client.infer("other", [pixels_input(protocol, RED)])
    with pytest.raises(InferenceServerException) as many:
        client.infer("brain_mri", [pixels_input(protocol, *[RED] * 17)])
    codes = {
        "http": ["400", "404", "413"],
        "grpc": [f"StatusCode.{code}" for code in ("INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED")],
    }
    assert [error.value.status() for error in (corrupt, unknown, many)] == codes[protocol]
    assert corrupt.value.message().startswith("Element 1 of the input: ")
    assert "No model 'other' is served" in unknown.value.message()
    assert "one request may hold 16 images" in many.value.message()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression(client: Any, protocol: str, algorithm: str) -> None:
    options = (
        {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
        if protocol == "http"
        else {"compression_algorithm": algorithm}
    )
    outputs = [SYNC[protocol].InferRequestedOutput("probabilities", class_count=4)]
    given = [pixels_input(protocol, *COLOURS.values(), *COLOURS.values(), *COLOURS.values())]
    result = client.infer("brain_mri", given, outputs=outputs, **options)
    best = [row[0].decode().split(":")[2] for row in result.as_numpy("probabilities")]
    assert best == list(COLOURS) * 3


def test_client_timeout_and_priority_are_accepted(client: Any, protocol: str) -> None:
    result = client.infer("brain_mri", [pixels_input(protocol, GREEN)], timeout=5_000_000, priority=2)
    assert result.as_numpy("probabilities") == pytest.approx(tiny_probabilities(GREEN), abs=1e-6)


@pytest.mark.parametrize("binary_answer", [False, True])
@pytest.mark.parametrize("binary_request", [False, True])
def test_http_in_json_and_in_binary_both_ways(
    server: Served, png: Png, binary_request: bool, binary_answer: bool
) -> None:
    # In JSON a file is its base64.
    encode = bytes if binary_request else base64.b64encode
    with triton_http.InferenceServerClient(address(server, "http")) as client:
        outputs = [
            triton_http.InferRequestedOutput(name, binary_data=binary_answer)
            for name in ("probabilities", "label", "novelty")
        ]
        given = [files_input("http", encode(png(RED)), encode(png(BLACK)), binary_data=binary_request)]
        files = client.infer("brain_mri_image", given, outputs=outputs)
        given = [pixels_input("http", RED, BLACK, binary_data=binary_request)]
        pixels = client.infer("brain_mri", given, outputs=outputs[:1])
    labels = [label if isinstance(label, str) else label.decode() for label in files.as_numpy("label").ravel()]
    assert labels == ["glioma", "notumor"]
    assert np.isnan(files.as_numpy("novelty")).all()
    for result in (files, pixels):
        assert result.as_numpy("probabilities") == pytest.approx(tiny_probabilities(RED, BLACK), abs=1e-6)


def test_the_asyncio_clients_side_by_side(server: Served, protocol: str, png: Png) -> None:
    async def talk() -> tuple[list[Any], list[Any], bool]:
        async with AIO[protocol].InferenceServerClient(address(server, protocol)) as client:
            colours = list(COLOURS.values()) * 8
            pixels = [client.infer("brain_mri", [pixels_input(protocol, colour)]) for colour in colours]
            files = [client.infer("brain_mri_image", [files_input(protocol, png(colour))]) for colour in colours[:4]]
            results = await asyncio.gather(*pixels, *files)
            ready = await client.is_server_live() and await client.is_server_ready()
            ready = ready and await client.is_model_ready("brain_mri")
            config = as_dict(await client.get_model_config("brain_mri"))
            assert config.get("config", config)["max_batch_size"] == 16
            await client.get_model_metadata("brain_mri")
            await client.get_inference_statistics("brain_mri")
            await client.get_model_repository_index()
            return results[:32], results[32:], ready

    pixels, files, ready = asyncio.run(talk())
    assert ready
    answered = np.concatenate([result.as_numpy("probabilities") for result in pixels])
    assert answered == pytest.approx(tiny_probabilities(*list(COLOURS.values()) * 8), abs=1e-6)
    assert [result.as_numpy("label").item().decode() for result in files] == list(COLOURS)


@pytest.mark.parametrize("version", ["", "/versions/0.0.1"])
def test_curl_sends_an_image_file_as_it_is(server: Served, png: Png, tmp_path: Path, version: str) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    (tmp_path / "slice.png").write_bytes(png(BLUE))
    url = f"http://{address(server, 'http')}/v2/models/brain_mri_image{version}/infer"
    headers = ["-H", "Inference-Header-Content-Length: 0", "-H", "Content-Type: application/octet-stream"]
    command = [curl, "-sS", "--fail", "--max-time", "20", *headers, "--data-binary", "@slice.png", url]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert '"name":"label","datatype":"BYTES","shape":[1,1],"data":["pituitary"]' in done.stdout
