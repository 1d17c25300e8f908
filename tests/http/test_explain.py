import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from prometheus_client import CollectorRegistry

from brainmri.imaging import DecodeLimits
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Predictor
from tests.application import MAX_IMAGE_BYTES, Ask, code_of
from tests.tiny import write_tiny_bundle

Png = Callable[..., bytes]


@pytest.fixture
def explaining(tmp_path: Path) -> Predictor:
    bundle = write_tiny_bundle(tmp_path / "explaining", tmp_path / "scratch", explains=True)
    return Predictor.open(bundle, ModelOptions(limits=DecodeLimits(max_bytes=MAX_IMAGE_BYTES)))


def half_red() -> bytes:
    """A slice whose left half is red: evidence for glioma, 10 a cell."""
    pixels = np.zeros((299, 299, 3), np.uint8)
    pixels[:, :150, 0] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def picture(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_the_answer_is_the_prediction_with_its_heat_map(
    ask: Ask, explaining: Predictor, registry: CollectorRegistry
) -> None:
    headers, files = {"X-Request-Id": "same"}, {"image": half_red()}
    response = ask("POST", "/explain", served=[explaining], headers=headers, files=files)
    plain = ask("POST", "/predict", served=[explaining], headers=headers, files=files).json()
    body = response.json()
    assert (response.status_code, response.headers["vary"]) == (200, "Accept")
    assert body.pop("explained_label") == "glioma"
    heat_map = body.pop("heatmap")
    del body["timings_ms"], plain["timings_ms"]
    assert body == plain
    assert (heat_map["width"], heat_map["height"], heat_map["min"]) == (299, 299, 0.0)
    assert heat_map["max"] == pytest.approx(10, abs=1e-3)
    pixels = picture(base64.b64decode(heat_map["png"]))
    assert (pixels.shape, pixels[9, 9], pixels[9, 289]) == ((299, 299), 255, 0)
    assert registry.get_sample_value("brainmri_predictions_total", {"label": "glioma"}) == 2


def test_another_class_can_be_explained(ask: Ask, explaining: Predictor) -> None:
    body = ask("POST", "/explain?label=pituitary", served=[explaining], files={"image": half_red()}).json()
    assert (body["label"], body["explained_label"], body["heatmap"]["max"]) == ("glioma", "pituitary", 0.0)


def test_accept_png_gives_the_slice_with_the_map_over_it(ask: Ask, explaining: Predictor) -> None:
    response = ask(
        "POST",
        "/explain?opacity=1&palette=grey",
        served=[explaining],
        files={"image": half_red()},
        headers={"Accept": "image/png"},
    )
    pixels = picture(response.content)
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    assert response.headers["x-explained-label"] == "glioma"
    assert pixels[9, 9].tolist() == [255, 255, 255]
    assert pixels[9, 289].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("query", "limit"),
    [
        ("label=tumour", "glioma, meningioma, notumor, pituitary"),
        ("label=", "glioma, meningioma, notumor, pituitary"),
        ("opacity=2", "0 to 1"),
        ("palette=jet", "cividis, fire, grey"),
    ],
)
def test_a_wrong_parameter_is_refused_with_what_there_is(
    ask: Ask, explaining: Predictor, query: str, limit: str
) -> None:
    response = ask("POST", f"/explain?{query}", served=[explaining], files={"image": half_red()})
    assert (response.status_code, code_of(response)) == (400, "malformed_request")
    assert response.json()["error"]["limit"] == limit


def test_a_model_without_heat_maps_says_so(ask: Ask, png: Png) -> None:
    response = ask("POST", "/explain", files={"image": png()})
    assert (response.status_code, code_of(response)) == (501, "heat_map_unavailable")
    assert "brain_mri_xception:0.0.1 carries no heat map" in response.json()["error"]["message"]


def test_a_bad_image_is_refused_as_by_predict(ask: Ask, explaining: Predictor) -> None:
    response = ask("POST", "/explain", served=[explaining], files={"image": b"text"})
    assert (response.status_code, code_of(response)) == (400, "image_unreadable")


def test_v1_explains_files_and_tensors_in_order(ask: Ask, explaining: Predictor) -> None:
    blue = np.full((299, 299, 3), (0, 0, 255), int).tolist()
    body: Any = {"instances": [{"b64": base64.b64encode(half_red()).decode()}, blue]}
    response = ask(
        "POST",
        "/v1/models/brain_mri:explain",
        served=[explaining],
        settings={"max_request_bytes": 10_000_000},
        json=body,
    )
    answer = response.json()
    assert response.status_code == 200
    assert [each["label"] for each in answer["predictions"]] == ["glioma", "pituitary"]
    assert [each["explained_label"] for each in answer["explanations"]] == ["glioma", "pituitary"]
    alone = ask("POST", "/explain", served=[explaining], files={"image": half_red()}).json()
    assert answer["explanations"][0]["heatmap"] == alone["heatmap"]
    assert (picture(base64.b64decode(answer["explanations"][1]["heatmap"]["png"])) == 255).all()


def test_v1_of_a_model_without_heat_maps_says_so(ask: Ask, png: Png) -> None:
    instances = [{"b64": base64.b64encode(png()).decode()}]
    response = ask("POST", "/v1/models/brain_mri:explain", json={"instances": instances})
    assert response.status_code == 501
    assert "carries no heat map" in response.json()["error"]
