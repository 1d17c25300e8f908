import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from brainmri.batching.engine import Engine
from brainmri.model.predictor import Predictor
from tests.application import MAX_REQUEST_BYTES, Ask
from tests.web.test_call import second_model

PREDICT = "/v1/models/brain_mri:predict"


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def blue() -> list[Any]:
    return np.full((299, 299, 3), (0, 0, 255), int).tolist()


def error_of(response: httpx.Response) -> str:
    body = response.json()
    assert list(body) == ["error"]
    assert isinstance(body["error"], str)
    return str(body["error"])


def test_every_form_of_instance_is_answered_in_order(
    ask: Ask, png: Callable[..., bytes], registry: CollectorRegistry
) -> None:
    limits = {"max_request_bytes": 10_000_000}
    instances = [b64(png((255, 0, 0))), blue(), {"image": b64(png((0, 255, 0)))}, {"image": blue()}, b64(png(0))]
    response = ask("POST", PREDICT, settings=limits, json={"instances": instances})
    assert response.status_code == 200
    labels = [prediction["label"] for prediction in response.json()["predictions"]]
    assert labels == ["glioma", "pituitary", "meningioma", "pituitary", "notumor"]
    assert registry.get_sample_value("brainmri_predictions_total", {"label": "pituitary"}) == 2


def test_a_prediction_is_what_predict_answers(ask: Ask, png: Callable[..., bytes]) -> None:
    headers, data = {"X-Request-Id": "same"}, png((200, 40, 10))
    mine = ask("POST", PREDICT, headers=headers, json={"instances": [b64(data)]}).json()["predictions"][0]
    other = ask("POST", "/predict", headers=headers, files={"image": data}).json()
    del mine["timings_ms"], other["timings_ms"]
    assert mine == other


@pytest.mark.parametrize("name", ["brain_mri", "brain_mri_xception"])
def test_the_content_type_does_not_matter_but_name_and_version_do(
    ask: Ask, predictor: Predictor, png: Callable[..., bytes], name: str
) -> None:
    served = [predictor, second_model(predictor, "0.0.2")]
    content = json.dumps({"instances": [b64(png())]})
    headers = {"content-type": "application/x-www-form-urlencoded"}  # what curl -d sends
    path = f"/v1/models/{name}/versions/0.0.2:predict"
    response = ask("POST", path, served=served, content=content, headers=headers)
    assert response.json()["predictions"][0]["model"]["version"] == "0.0.2"


@pytest.mark.parametrize(
    ("path", "content", "status", "message"),
    [
        ("/v1/models/other:predict", b"{}", 404, "No model 'other' is served. Choose one of brain_mri_xception:0.0.1."),
        (PREDICT, b"{}", 400, "The body holds no instance."),
        (PREDICT, b'{"instances":[{"b64":"aGVsbG8="}]}', 400, "Instance 0: "),
        (PREDICT, b'{"instances":[{"b64":""}]}', 400, "Instance 0: "),
        (PREDICT, b" " * (MAX_REQUEST_BYTES + 1), 413, "The request has"),
        (PREDICT, json.dumps({"instances": [{"b64": "YWJj"}] * 6}).encode(), 413, "The request has more than 5"),
    ],
)
def test_an_error_is_one_sentence_in_the_protocols_shape(
    ask: Ask, path: str, content: bytes, status: int, message: str
) -> None:
    response = ask("POST", path, content=content)
    assert response.status_code == status
    assert error_of(response).startswith(message)


def test_one_bad_instance_fails_the_request_and_is_named(ask: Ask, png: Callable[..., bytes]) -> None:
    response = ask("POST", PREDICT, json={"instances": [b64(png()), b64(b"text"), b64(png())]})
    assert response.status_code == 400
    assert error_of(response).startswith("Instance 1: ")


def test_before_the_model_is_ready_the_answer_is_503_in_the_protocols_shape(ask: Ask) -> None:
    for method, path in (("POST", PREDICT), ("GET", "/v1/models/brain_mri")):
        response = ask(method, path, served=())
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        assert error_of(response).startswith("The model is not loaded")


@pytest.mark.parametrize("path", ["/v1/models/brain_mri", "/v1/models/brain_mri/versions/0.0.1"])
def test_the_state_of_a_model(ask: Ask, path: str) -> None:
    version = {"version": "0.0.1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    body = {"name": "brain_mri", "ready": True, "model_version_status": [version]}
    assert ask("GET", path).json() == body
    missing = ask("GET", path.replace("brain_mri", "other"))
    assert (missing.status_code, "No model" in error_of(missing)) == (404, True)


def test_a_model_of_a_server_that_is_about_to_end_is_not_ready(
    ask: Ask, png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Engine.start

    async def start_and_retire(engine: Engine, load: Any) -> None:
        await start(engine, load)
        engine.retire()

    monkeypatch.setattr(Engine, "start", start_and_retire)
    response = ask("GET", "/v1/models/brain_mri")
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert error_of(response).startswith("The server is starting or draining.")
    # What still comes is answered.
    assert ask("POST", PREDICT, json={"instances": [b64(png())]}).status_code == 200


def test_the_models_are_listed_once_by_their_serving_name(ask: Ask, predictor: Predictor) -> None:
    served = [predictor, second_model(predictor, "0.0.2")]
    assert ask("GET", "/v1/models", served=served).json() == {"models": ["brain_mri"]}


def test_a_wrong_method_has_the_protocols_shape(ask: Ask) -> None:
    response = ask("POST", "/v1/models/brain_mri")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")
    assert error_of(response).startswith("This path takes GET, HEAD, not POST.")
