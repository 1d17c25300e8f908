import base64
import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from numpy.typing import NDArray
from PIL import Image
from tritonclient.utils import InferenceServerException

from brainmri.model.bundle import Bundle
from brainmri.model.explanation import Explain, HeatMap
from brainmri.model.heat_picture import Style, grey_map, overlay_png
from brainmri.model.predictor import Predictor
from tests.open_inference.served import Served, serve
from tests.tiny import CELLS, write_tiny_bundle

MODEL = "brain_mri_image"
CLIENTS = {"http": triton_http, "grpc": triton_grpc}


@pytest.fixture(scope="module")
def explaining(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("explaining")
    return write_tiny_bundle(folder / "brain_mri_xception", folder, explains=True)


@pytest.fixture(scope="module")
def explaining_server(explaining: Bundle) -> Iterator[Served]:
    with serve(explaining) as served:
        yield served


@pytest.fixture(scope="module")
def image() -> bytes:
    """Random colours, in blocks larger than a cell."""
    colours = np.random.default_rng(3).integers(0, 256, (6, 7, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(colours).resize((280, 240), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def ask(served: Served, protocol: str, image: bytes, output: str = "heatmap", **parameters: str) -> NDArray[np.float32]:
    kind = CLIENTS[protocol]
    address = served.http if protocol == "http" else served.grpc_address
    given = kind.InferInput("image", [1, 1], "BYTES")
    given.set_data_from_numpy(np.array([[image]], np.object_))
    wanted = kind.InferRequestedOutput(output)
    wanted._parameters.update(parameters) if protocol == "http" else _set(wanted, parameters)
    with kind.InferenceServerClient(address) as client:
        result = client.infer(MODEL, [given], outputs=[wanted])
    return np.asarray(result.as_numpy(output))


def _set(wanted: triton_grpc.InferRequestedOutput, parameters: dict[str, str]) -> None:
    for name, value in parameters.items():
        wanted._output.parameters[name].string_param = value


@pytest.mark.parametrize("label", ["glioma", "pituitary"])
def test_every_interface_gives_the_same_map(
    explaining: Bundle, explaining_server: Served, image: bytes, tmp_path: Path, label: str
) -> None:
    local = Predictor.open(explaining).predict(image, Explain(label)).explained
    expected = grey_map(local.heat_map)
    base = f"http://{explaining_server.http}"
    one = httpx.post(f"{base}/explain?label={label}", files={"image": image}).json()["heatmap"]
    instances = [{"b64": base64.b64encode(image).decode()}]
    v1 = httpx.post(f"{base}/v1/models/brain_mri:explain?label={label}", json={"instances": instances}).json()
    assert one == v1["explanations"][0]["heatmap"]
    assert base64.b64decode(one["png"]) == expected.png
    assert one["max"] == expected.maximum > 0
    for protocol in CLIENTS:
        cells = ask(explaining_server, protocol, image, label=label)
        assert cells.shape == (1, CELLS, CELLS)
        np.testing.assert_array_equal(cells[0], local.heat_map.cells)
        assert grey_map(HeatMap(label, cells[0])) == expected
    overlay = httpx.post(
        f"{base}/explain?label={label}&opacity=0.3", files={"image": image}, headers={"Accept": "image/png"}
    )
    assert overlay.content == overlay_png(local.pixels, local.heat_map, Style(0.3))


@pytest.mark.parametrize("protocol", CLIENTS)
def test_heat_maps_come_only_when_they_are_asked_for(explaining_server: Served, image: bytes, protocol: str) -> None:
    kind = CLIENTS[protocol]
    address = explaining_server.http if protocol == "http" else explaining_server.grpc_address
    given = kind.InferInput("image", [1, 1], "BYTES")
    given.set_data_from_numpy(np.array([[image]], np.object_))
    with kind.InferenceServerClient(address) as client:
        result = client.infer(MODEL, [given])
        metadata = client.get_model_metadata(MODEL)
    assert result.as_numpy("heatmap") is None
    assert result.as_numpy("probabilities").shape == (1, 4)
    outputs = metadata["outputs"] if protocol == "http" else metadata.outputs
    last = (
        outputs[-1] if protocol == "http" else {"name": outputs[-1].name, "shape": [int(n) for n in outputs[-1].shape]}
    )
    assert (last["name"], [int(n) for n in last["shape"]]) == ("heatmap", [-1, CELLS, CELLS])


@pytest.mark.parametrize("protocol", CLIENTS)
@pytest.mark.parametrize(
    ("output", "label", "message"),
    [
        ("heatmap", "tumour", "no label 'tumour'"),
        ("novelty", "glioma", "Only the output 'heatmap' has a parameter label"),
    ],
)
def test_a_wrong_label_is_refused(
    explaining_server: Served, image: bytes, protocol: str, output: str, label: str, message: str
) -> None:
    with pytest.raises(InferenceServerException, match=message):
        ask(explaining_server, protocol, image, output, label=label)


@pytest.mark.parametrize("protocol", CLIENTS)
def test_a_model_without_heat_maps_says_so(server: Served, image: bytes, protocol: str) -> None:
    with pytest.raises(InferenceServerException, match="carries no heat map") as caught:
        ask(server, protocol, image)
    assert caught.value.status() == {"http": "501", "grpc": "StatusCode.UNIMPLEMENTED"}[protocol]
