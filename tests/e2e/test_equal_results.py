"""The same images through every interface give the same answer."""

import base64
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from brainmri.imaging import decode, to_tensor
from brainmri.model.bundle import load_bundle
from brainmri.model.contract import LABELS
from tests.open_inference.served import SIDE, Served, serve
from tests.tiny import write_tiny_bundle

COUNT = 4
RELEASED = Path(__file__).resolve().parents[2] / "models" / "brain_mri_xception"

INT8_BATCHED = 1e-5
"""Tolerance of the released int8 network for more than one image. Measured with 64 slices of the test set, in batches
of 2, 3 and 8 against one by one: 0 (OpenVINO 2026, AVX2). The room is for other CPUs."""

Answers = NDArray[np.float64]
Interface = Callable[[Served, Sequence[bytes]], Answers]


def slices(count: int) -> list[bytes]:
    """Draws `count` different pictures that look a little like slices, of several sizes, kinds and formats."""
    random = np.random.default_rng(7)
    files = []
    for number in range(count):
        width, height = (int(side) for side in random.integers(150, 500, 2))
        image = Image.fromarray(random.integers(0, 40, (height, width), np.uint8))
        draw = ImageDraw.Draw(image)
        for shade in (150, 90, 220):
            x, y = random.uniform(0.1, 0.4, 2)
            draw.ellipse((width * x, height * y, width * (1 - x), height * (1 - y)), fill=shade)
        image = image.filter(ImageFilter.GaussianBlur(2)).convert("RGB" if number % 2 else "L")
        file = io.BytesIO()
        image.save(file, ("PNG", "JPEG", "WEBP")[number % 3])
        files.append(file.getvalue())
    return files


def tensors(files: Sequence[bytes]) -> NDArray[np.uint8]:
    return np.stack([to_tensor(decode(file)) for file in files])


def post(server: Served, path: str, **request: Any) -> Any:
    response = httpx.post(f"http://{server.http}{path}", timeout=60, trust_env=False, **request)
    assert response.status_code == 200, response.text
    return response.json()


def in_order(probabilities: dict[str, float]) -> list[float]:
    return [probabilities[label] for label in LABELS]


def predict(server: Served, files: Sequence[bytes]) -> Answers:
    return np.array([in_order(post(server, "/predict", files={"image": file})["probabilities"]) for file in files])


def predict_raw(server: Served, files: Sequence[bytes]) -> Answers:
    headers = {"content-type": "image/png"}
    return np.array(
        [in_order(post(server, "/predict", content=file, headers=headers)["probabilities"]) for file in files]
    )


def predict_batch(server: Served, files: Sequence[bytes]) -> Answers:
    body = post(server, "/predict_batch", files=[("images", file) for file in files])
    return np.array([in_order(result["probabilities"]) for result in body["results"]])


def kserve_v1(server: Served, files: Sequence[bytes]) -> Answers:
    instances = [{"b64": base64.b64encode(file).decode()} for file in files]
    body = post(server, "/v1/models/brain_mri:predict", content=json.dumps({"instances": instances}))
    return np.array([in_order(prediction["probabilities"]) for prediction in body["predictions"]])


def triton(kind: Any, address: str, given: Any, model: str, **form: Any) -> Answers:
    outputs = [kind.InferRequestedOutput("probabilities", **form)]
    with kind.InferenceServerClient(address) as client:
        answer = client.infer(model, [given], outputs=outputs)
        return np.asarray(answer.as_numpy("probabilities"), np.float64)


def pixels_input(kind: Any, files: Sequence[bytes], **form: Any) -> Any:
    given = kind.InferInput("image", [len(files), SIDE, SIDE, 3], "UINT8")
    given.set_data_from_numpy(tensors(files), **form)
    return given


def files_input(kind: Any, files: Sequence[bytes], **form: Any) -> Any:
    given = kind.InferInput("image", [len(files), 1], "BYTES")
    given.set_data_from_numpy(np.array(files, np.object_).reshape(-1, 1), **form)
    return given


def rest_json(server: Served, files: Sequence[bytes]) -> Answers:
    given = pixels_input(triton_http, files, binary_data=False)
    return triton(triton_http, server.http, given, "brain_mri", binary_data=False)


def rest_binary(server: Served, files: Sequence[bytes]) -> Answers:
    return triton(triton_http, server.http, pixels_input(triton_http, files), "brain_mri", binary_data=True)


def rest_files_json(server: Served, files: Sequence[bytes]) -> Answers:
    given = files_input(triton_http, [base64.b64encode(file) for file in files], binary_data=False)
    return triton(triton_http, server.http, given, "brain_mri_image", binary_data=False)


def rest_files_binary(server: Served, files: Sequence[bytes]) -> Answers:
    return triton(triton_http, server.http, files_input(triton_http, files), "brain_mri_image", binary_data=True)


def grpc_pixels(server: Served, files: Sequence[bytes]) -> Answers:
    return triton(triton_grpc, server.grpc_address, pixels_input(triton_grpc, files), "brain_mri")


def grpc_files(server: Served, files: Sequence[bytes]) -> Answers:
    return triton(triton_grpc, server.grpc_address, files_input(triton_grpc, files), "brain_mri_image")


INTERFACES: list[Interface] = [
    predict,
    predict_raw,
    predict_batch,
    kserve_v1,
    rest_json,
    rest_binary,
    rest_files_json,
    rest_files_binary,
    grpc_pixels,
    grpc_files,
]


def one_by_one(interface: Interface, server: Served, files: Sequence[bytes]) -> Answers:
    return np.concatenate([interface(server, [file]) for file in files])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("tiny")
    with serve(write_tiny_bundle(folder / "bundle", folder)) as served:
        yield served


@pytest.fixture(scope="module")
def released() -> Iterator[Served]:
    with serve(load_bundle(RELEASED), max_batch_size=8) as served:
        yield served


@pytest.fixture(scope="module")
def tiny_reference(tiny: Served) -> Answers:
    return in_process(tiny, slices(COUNT))


@pytest.fixture(scope="module")
def released_reference(released: Served) -> Answers:
    return in_process(released, slices(COUNT))


def in_process(server: Served, files: Sequence[bytes]) -> Answers:
    """Returns what the model says without any server, one image at a time."""
    predictor = server.engine.models.default
    return np.array([in_order(dict(predictor.predict(file).probabilities)) for file in files])


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda one: one.__name__)
def test_the_float32_network_answers_alike_one_by_one_and_together(
    tiny: Served, tiny_reference: Answers, interface: Interface
) -> None:
    files = slices(COUNT)
    # The pictures differ, so equal answers mean equal pixels.
    assert np.ptp(tiny_reference, axis=0).max() > 0.01
    assert one_by_one(interface, tiny, files) == pytest.approx(tiny_reference, abs=1e-6)
    assert interface(tiny, files) == pytest.approx(tiny_reference, abs=1e-6)


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda one: one.__name__)
def test_the_released_network_answers_alike_one_by_one_and_together(
    released: Served, released_reference: Answers, interface: Interface
) -> None:
    files = slices(COUNT)
    assert one_by_one(interface, released, files) == pytest.approx(released_reference, abs=1e-6)
    assert interface(released, files) == pytest.approx(released_reference, abs=INT8_BATCHED)


@pytest.mark.data
@pytest.mark.parametrize("interface", [predict, predict_batch, grpc_files, rest_binary], ids=lambda one: one.__name__)
def test_the_released_network_answers_alike_for_real_slices(
    released: Served, brain_mri_data: Path, interface: Interface
) -> None:
    paths = sorted((brain_mri_data / "brain-mri" / "Testing").glob("*/*"))
    files = [path.read_bytes() for path in paths[:: len(paths) // 12]]
    assert interface(released, files) == pytest.approx(in_process(released, files), abs=INT8_BATCHED)
