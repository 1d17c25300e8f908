import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from brainmri.api.http import create_app
from brainmri.bundle import Bundle
from brainmri.contract import NOTICE, Contract
from brainmri.inference.engine import Engine
from brainmri.inference.predictor import Predictor
from brainmri.inference.runtime import Output
from brainmri.metrics import Metrics
from tests.api.conftest import MAX_IMAGE_BYTES, Ask, api_settings, code_of


def test_a_multipart_image_is_classified(ask: Ask, png: Callable[..., bytes]) -> None:
    response = ask("POST", "/predict", files={"image": ("slice.png", png((0, 255, 0)), "image/png")})
    body = response.json()
    assert response.status_code == 200
    assert (body["label"], body["verdict"]) == ("meningioma", "meningioma")
    assert body["confidence"] == body["probabilities"]["meningioma"] > 0.97
    assert sum(body["probabilities"].values()) == pytest.approx(1)
    assert body["model"] == {"name": "brain_mri_xception", "version": "0.0.1", "runtime": "openvino-f32"}
    assert list(body["timings_ms"]) == ["decode", "queue", "inference", "total"]
    assert body["notice"] == NOTICE
    assert body["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg", "IMAGE/*; q=1"])
def test_a_raw_body_is_classified_whatever_image_type_it_claims(
    ask: Ask, png: Callable[..., bytes], content_type: str
) -> None:
    response = ask("POST", "/predict", content=png((0, 0, 255)), headers={"content-type": content_type})
    assert (response.status_code, response.json()["label"]) == (200, "pituitary")


@pytest.mark.parametrize(
    ("files", "status", "code"),
    [
        ({"image": ("a.png", b"", "image/png")}, 400, "image_empty"),
        ({"image": ("a.txt", b"hello", "text/plain")}, 400, "image_unreadable"),
        ({"file": ("a.png", b"x", "image/png")}, 400, "malformed_request"),
        ([("image", ("a.png", b"x")), ("image", ("b.png", b"x"))], 400, "malformed_request"),
        ([("image", ("a.png", b"x")), ("more", ("b.png", b"x"))], 400, "malformed_request"),
        ([("image", (f"{i}.png", b"x")) for i in range(20)], 400, "malformed_request"),
        ({"image": ("a.png", b"x" * (MAX_IMAGE_BYTES + 1), "image/png")}, 413, "image_too_large"),
        ({"image": ("a.png", b"x" * (MAX_IMAGE_BYTES * 2), "image/png")}, 413, "image_too_large"),
    ],
)
def test_a_bad_upload_is_refused(ask: Ask, files: Any, status: int, code: str) -> None:
    response = ask("POST", "/predict", files=files)
    assert (response.status_code, code_of(response)) == (status, code)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_image_is_refused(ask: Ask, png: Callable[..., bytes], share: float) -> None:
    data = png(side=200)
    response = ask("POST", "/predict", files={"image": data[: int(len(data) * share)]})
    assert (response.status_code, code_of(response)) == (400, "image_unreadable")


def test_a_field_that_is_text_is_no_file(ask: Ask) -> None:
    boundary = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nhttp://169.254.169.254/\r\n--b--\r\n'
    response = ask("POST", "/predict", content=boundary, headers={"content-type": "multipart/form-data; boundary=b"})
    assert (response.status_code, code_of(response)) == (400, "malformed_request")


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"no boundary here"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"),
        ("application/json", b'{"url": "http://169.254.169.254/"}'),
        ("", b"x"),
    ],
)
def test_a_malformed_body_is_refused(ask: Ask, content_type: str, content: bytes) -> None:
    response = ask("POST", "/predict", content=content, headers={"content-type": content_type})
    assert (response.status_code, code_of(response)) == (400, "malformed_request")


def test_an_empty_raw_body_is_refused(ask: Ask) -> None:
    response = ask("POST", "/predict", content=b"", headers={"content-type": "image/png"})
    assert (response.status_code, code_of(response)) == (400, "image_empty")


def test_reading_stops_at_the_limit_when_no_length_is_declared(ask: Ask) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 50_000
            yield b"x" * 50_000

    response = ask("POST", "/predict", content=endless(), headers={"content-type": "image/png"})
    assert (response.status_code, code_of(response)) == (413, "image_too_large")
    assert response.json()["error"]["limit"] == f"{MAX_IMAGE_BYTES} bytes"
    assert sent <= MAX_IMAGE_BYTES + 2 * 50_000


def test_before_the_model_is_ready_the_answer_is_503(ask: Ask, png: Callable[..., bytes]) -> None:
    for method, path in (("POST", "/predict"), ("GET", "/model")):
        response = ask(method, path, served=(), files={"image": png()})
        assert (response.status_code, code_of(response)) == (503, "not_ready")
        assert response.headers["retry-after"] == "5"


def test_a_network_that_takes_too_long_is_answered_504(
    ask: Ask, png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    infer = Predictor.infer

    def infer_slowly(self: Predictor, images: NDArray[np.uint8]) -> Output:
        time.sleep(0.5)
        return infer(self, images)

    monkeypatch.setattr(Predictor, "infer", infer_slowly)
    response = ask("POST", "/predict", settings={"request_timeout_s": 0.1}, files={"image": png()})
    assert (response.status_code, code_of(response)) == (504, "deadline_exceeded")
    assert response.json()["error"]["limit"] == "0.1 s"


def test_an_upload_that_stalls_is_answered_504(ask: Ask) -> None:
    async def stalling() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(5)
        yield b"x"

    response = ask("POST", "/predict", settings={"request_timeout_s": 0.1}, content=stalling(), headers={"content-type": "image/png"})
    assert (response.status_code, code_of(response)) == (504, "deadline_exceeded")


def test_the_contract_is_shown(ask: Ask, tiny_bundle: Bundle) -> None:
    response = ask("GET", "/model")
    assert Contract.from_json(response.content) == tiny_bundle.contract


def test_an_unknown_path_and_a_wrong_method_have_the_same_shape(ask: Ask) -> None:
    unknown, wrong = ask("POST", "/nope/../predict2"), ask("GET", "/predict")
    assert (unknown.status_code, code_of(unknown)) == (404, "not_found")
    assert (wrong.status_code, code_of(wrong), wrong.headers["allow"]) == (405, "method_not_allowed", "POST")


def test_an_unexpected_error_leaks_nothing(
    ask: Ask, png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret /etc/path")

    monkeypatch.setattr(Predictor, "answer", fail)
    monkeypatch.setattr(Predictor, "warm_up", lambda _: None)
    response = ask("POST", "/predict", files={"image": png()})
    assert (response.status_code, code_of(response)) == (500, "internal")
    assert "secret" not in response.text


@pytest.mark.parametrize("given", ["abc", "A.b_c-9", "x" * 64])
def test_a_sane_request_id_comes_back(ask: Ask, given: str) -> None:
    assert ask("GET", "/model", headers={"X-Request-Id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "é", "<script>", "a;b"])
def test_another_request_id_is_replaced(ask: Ask, given: str) -> None:
    answered = ask("GET", "/model", headers={"X-Request-Id": given.encode()}).headers["x-request-id"]
    assert answered != given
    assert len(answered) == 32


def test_predictions_are_counted(ask: Ask, png: Callable[..., bytes], registry: CollectorRegistry) -> None:
    ask("POST", "/predict", files={"image": png((255, 0, 0))})
    ask("POST", "/predict", files={"image": b"text"})
    assert registry.get_sample_value("brainmri_predictions_total", {"label": "glioma"}) == 1


def test_the_page_shows_the_document_and_loads_nothing_from_elsewhere(
    tmp_path: Path, registry: CollectorRegistry
) -> None:
    (tmp_path / "swagger-ui.css").write_text("css")

    async def talk() -> tuple[httpx.Response, httpx.Response]:
        app = create_app(Engine(decode_workers=1), Metrics(registry), api_settings(), tmp_path)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.get("/"), await client.get("/static_content/swagger-ui.css")

    page, asset = asyncio.run(talk())
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "//" not in page.text
    assert "./static_content/swagger-initializer.js" in page.text
    assert asset.text == "css"
