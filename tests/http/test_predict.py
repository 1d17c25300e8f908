import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from brainmri.model.contract import NOTICE
from tests.application import MAX_IMAGE_BYTES, Ask, code_of


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


@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg", "IMAGE/*; q=1", "application/octet-stream"])
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


@pytest.mark.parametrize(
    "filename", ["filename*=UTF-8''na%C3%AFve.png", "filename*=utf-8'en'a.png", "FileName*=iso-8859-1''%E9.png"]
)
def test_a_file_named_by_an_extended_parameter_alone_is_a_file(
    ask: Ask, png: Callable[..., bytes], filename: str
) -> None:
    head = f'--b\r\nContent-Disposition: form-data; name="image"; {filename}\r\n\r\n'.encode()
    body = head + png((0, 0, 255)) + b"\r\n--b--\r\n"
    response = ask("POST", "/predict", content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert (response.status_code, response.json().get("label")) == (200, "pituitary")


def test_base64_in_json_is_pointed_to_the_protocol_that_takes_it(ask: Ask) -> None:
    response = ask("POST", "/predict", json={"image": "iVBORw0KGgo="})
    assert (response.status_code, code_of(response)) == (400, "malformed_request")
    assert (
        'Send base64 to POST /v1/models/NAME:predict as {"instances": [{"b64": "..."}]}'
        in (response.json()["error"]["message"])
    )


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


def test_an_upload_that_stalls_is_answered_504(ask: Ask) -> None:
    async def stalling() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(5)
        yield b"x"

    response = ask(
        "POST",
        "/predict",
        settings={"request_timeout_s": 0.1},
        content=stalling(),
        headers={"content-type": "image/png"},
    )
    assert (response.status_code, code_of(response)) == (504, "deadline_exceeded")


def test_predictions_are_counted(ask: Ask, png: Callable[..., bytes], registry: CollectorRegistry) -> None:
    ask("POST", "/predict", files={"image": png((255, 0, 0))})
    ask("POST", "/predict", files={"image": b"text"})
    assert registry.get_sample_value("brainmri_predictions_total", {"label": "glioma"}) == 1


def test_an_upload_that_pauses_too_long_is_answered_408_and_the_connection_closed(ask: Ask) -> None:
    async def stalling() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(5)
        yield b"x"

    limits = {"upload_idle_timeout_s": 0.05}
    response = ask("POST", "/predict", settings=limits, content=stalling(), headers={"content-type": "image/png"})
    assert (response.status_code, code_of(response)) == (408, "upload_stalled")
    assert (response.json()["error"]["limit"], response.headers["connection"]) == ("0.05 s", "close")


def test_a_slow_upload_that_never_pauses_is_answered_504_at_its_deadline(ask: Ask) -> None:
    async def trickling() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    limits = {"upload_idle_timeout_s": 10, "request_timeout_s": 0.2}
    response = ask("POST", "/predict", settings=limits, content=trickling(), headers={"content-type": "image/png"})
    assert (response.status_code, code_of(response)) == (504, "deadline_exceeded")


def test_an_image_of_exactly_the_limit_passes_and_one_byte_more_does_not(ask: Ask, png: Callable[..., bytes]) -> None:
    data = png((0, 0, 255))
    for limit, expected in ((len(data), 200), (len(data) - 1, 413)):
        for upload in ({"files": {"image": data}}, {"content": data, "headers": {"content-type": "image/png"}}):
            response = ask("POST", "/predict", settings={"max_image_bytes": limit}, **upload)
            assert response.status_code == expected


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
@pytest.mark.parametrize("path", ["/predict", "/predict_batch", "/v1/models/brain_mri:predict"])
def test_a_compressed_body_is_refused_with_what_is_taken(ask: Ask, path: str, encoding: str) -> None:
    response = ask("POST", path, content=b"x", headers={**FORM, "content-encoding": encoding})
    assert (response.status_code, response.headers["accept-encoding"]) == (415, "identity")


@pytest.mark.parametrize("path", ["/predict", "/predict_batch", "/v1/models/brain_mri:predict"])
def test_a_declared_length_beyond_the_limit_is_refused_without_reading(ask: Ask, path: str) -> None:
    async def untouched() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    response = ask("POST", path, content=untouched(), headers={**FORM, "content-length": "5000000"})
    assert response.status_code == 413


FORM = {"content-type": "multipart/form-data; boundary=b"}
