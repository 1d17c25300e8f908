import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from brainmri.errors import BrainMRIError, EmptyImage, InferenceFailed, Overloaded
from brainmri.http.predict import require_an_answer
from tests.application import MAX_IMAGE_BYTES, MAX_REQUEST_BYTES, MAX_REQUEST_IMAGES, Ask, code_of

COLOURS = {"glioma": (255, 0, 0), "meningioma": (0, 255, 0), "notumor": (0, 0, 0), "pituitary": (0, 0, 255)}


def images(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (f"{number}.png", content)) for number, content in enumerate(contents)]


def test_every_image_gets_its_answer_in_order(ask: Ask, png: Callable[..., bytes]) -> None:
    order = ["pituitary", "glioma", "notumor", "meningioma", "glioma"]
    response = ask("POST", "/predict_batch", files=images(*(png(COLOURS[label]) for label in order)))
    body = response.json()
    assert response.status_code == 200
    assert [result["label"] for result in body["results"]] == order
    assert (body["count"], body["errors"]) == (5, 0)
    assert body["request_id"] == response.headers["x-request-id"]


def test_a_result_is_what_predict_answers_for_the_same_file(ask: Ask, png: Callable[..., bytes]) -> None:
    def stable(body: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in body.items() if name != "timings_ms"}

    headers = {"X-Request-Id": "same"}
    files = [png((200, 40, 10)), b"text", b"", b"x" * (MAX_IMAGE_BYTES + 1)]
    many = ask("POST", "/predict_batch", files=images(*files), headers=headers).json()["results"]
    single = [ask("POST", "/predict", files={"image": ("a", file)}, headers=headers).json() for file in files]
    assert stable(many[0]) == stable(single[0])
    assert many[1:3] == single[1:3]
    assert many[3]["error"]["code"] == single[3]["error"]["code"] == "image_too_large"


def test_bad_images_change_nothing_for_the_others(
    ask: Ask, png: Callable[..., bytes], registry: CollectorRegistry
) -> None:
    good = png(COLOURS["pituitary"])
    body = ask("POST", "/predict_batch", files=images(b"", good, b"text", b"x" * 300_000, good)).json()
    codes = [result["error"]["code"] if "error" in result else result["label"] for result in body["results"]]
    assert codes == ["image_empty", "pituitary", "image_unreadable", "image_too_large", "pituitary"]
    assert (body["count"], body["errors"]) == (5, 3)
    assert registry.get_sample_value("brainmri_predictions_total", {"label": "pituitary"}) == 2


def test_a_request_of_bad_images_alone_is_answered_image_by_image(ask: Ask) -> None:
    response = ask("POST", "/predict_batch", files=images(b"", b"text"))
    assert (response.status_code, response.json()["errors"]) == (200, 2)


@pytest.mark.parametrize(
    ("files", "status", "code"),
    [
        (images(*[b"x"] * (MAX_REQUEST_IMAGES + 1)), 413, "request_too_large"),
        (images(*[b"x" * 190_000] * 5, b"x" * 190_000), 413, "request_too_large"),
        ([("image", ("a.png", b"x"))], 400, "malformed_request"),
        ([("images", (None, b"text"))], 400, "malformed_request"),
        ([("images", ("a.png", b"x")), ("label", (None, b"glioma"))], 400, "malformed_request"),
    ],
)
def test_a_form_beyond_the_limits_is_refused_as_a_whole(ask: Ask, files: Any, status: int, code: str) -> None:
    response = ask("POST", "/predict_batch", files=files)
    assert (response.status_code, code_of(response)) == (status, code)


def test_the_refusal_names_the_limit(ask: Ask) -> None:
    many = ask("POST", "/predict_batch", files=images(*[b"x"] * (MAX_REQUEST_IMAGES + 1))).json()["error"]
    large = ask("POST", "/predict_batch", files=images(b"x" * MAX_REQUEST_BYTES)).json()["error"]
    assert many["limit"] == f"{MAX_REQUEST_IMAGES} images"
    assert large["limit"] == f"{MAX_REQUEST_BYTES} bytes"


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("application/json", b'{"images": ["http://169.254.169.254/"]}'),
        ("image/png", b"x"),
        ("", b""),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"--b--\r\n"),
        ("multipart/form-data; boundary=" + "b" * 5000, b"x"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\ncut o',
        ),
    ],
)
def test_a_body_that_is_no_complete_form_is_refused(ask: Ask, content_type: str, content: bytes) -> None:
    response = ask("POST", "/predict_batch", content=content, headers={"content-type": content_type})
    assert (response.status_code, code_of(response)) == (400, "malformed_request")


def test_reading_stops_at_the_limit_when_no_length_is_declared(ask: Ask) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
        for _ in range(1000):
            sent += 50_000
            yield b"x" * 50_000

    headers = {"content-type": "multipart/form-data; boundary=b"}
    response = ask("POST", "/predict_batch", content=endless(), headers=headers)
    assert (response.status_code, code_of(response)) == (413, "request_too_large")
    assert sent <= MAX_REQUEST_BYTES + 2 * 50_000


@pytest.mark.parametrize("path", ["/predict", "/predict_batch"])
@pytest.mark.parametrize("almost", [b"\r\n--bX", b"\r\n--b-", b"\r\n--b\r"])
def test_a_body_of_false_boundaries_is_refused_at_its_first_piece(ask: Ask, path: str, almost: bytes) -> None:
    sent = 0

    async def hostile() -> AsyncIterator[bytes]:
        nonlocal sent
        field = b"image" if path == "/predict" else b"images"
        yield b'--b\r\nContent-Disposition: form-data; name="%s"; filename="a"\r\n\r\n' % field
        for _ in range(10):
            sent += 1
            yield almost * 1000

    headers = {"content-type": "multipart/form-data; boundary=b"}
    response = ask("POST", path, content=hostile(), headers=headers)
    assert (response.status_code, sent) == (400 if path == "/predict" else 413, 1)


def test_no_upload_is_written_to_a_file(ask: Ask, png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file was made")

    for name in ("SpooledTemporaryFile", "TemporaryFile", "NamedTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    large = png() + b"x" * 150_000
    response = ask("POST", "/predict_batch", files=images(large, large, large))
    assert [result["label"] for result in response.json()["results"]] == ["glioma"] * 3


def test_a_pause_in_a_form_is_answered_408(ask: Ask) -> None:
    async def stalling() -> AsyncIterator[bytes]:
        yield b"--b\r\n"
        await asyncio.sleep(5)

    headers = {"content-type": "multipart/form-data; boundary=b"}
    limits = {"upload_idle_timeout_s": 0.05}
    response = ask("POST", "/predict_batch", settings=limits, content=stalling(), headers=headers)
    assert (response.status_code, code_of(response)) == (408, "upload_stalled")


def test_a_server_that_answers_nothing_says_so_with_its_status() -> None:
    overloaded, failed = Overloaded("full", retry_after_s=1), InferenceFailed("failed")
    cases: list[tuple[list[Any], BrainMRIError]] = [
        ([EmptyImage("empty"), overloaded], overloaded),
        ([failed, overloaded], failed),
    ]
    for answers, expected in cases:
        with pytest.raises(type(expected)) as caught:
            require_an_answer(answers)
        assert caught.value is expected
    require_an_answer([EmptyImage("empty")])
