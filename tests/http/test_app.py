import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from brainmri.batching.engine import Engine
from brainmri.http.app import create_app
from brainmri.http.documentation import swagger_routes
from brainmri.model.predictor import Predictor
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.dataplane import DataPlane
from tests.application import Ask, api_settings, code_of


def test_before_the_model_is_ready_the_answer_is_503(ask: Ask, png: Callable[..., bytes]) -> None:
    for method, path in (("POST", "/predict"), ("GET", "/model")):
        response = ask(method, path, served=(), files={"image": png()})
        assert (response.status_code, code_of(response)) == (503, "not_ready")
        assert response.headers["retry-after"] == "5"


def test_an_unknown_path_and_a_wrong_method_have_the_same_shape(ask: Ask) -> None:
    unknown, wrong = ask("POST", "/nope/../predict2"), ask("GET", "/predict")
    assert (unknown.status_code, code_of(unknown)) == (404, "not_found")
    assert (wrong.status_code, code_of(wrong), wrong.headers["allow"]) == (405, "method_not_allowed", "POST")


def test_a_wrong_method_is_told_every_method_of_the_path_bentoml_s_paths_included(ask: Ask) -> None:
    for path, allowed in (("/jobs/0", "DELETE, GET, HEAD"), ("/livez", "GET"), ("/probabilities", "POST")):
        wrong = ask("PUT", path)
        assert (wrong.status_code, code_of(wrong), wrong.headers["allow"]) == (405, "method_not_allowed", allowed)


def test_who_opens_the_path_of_uploads_in_a_browser_is_shown_the_page(ask: Ask) -> None:
    assert ask("GET", "/predict").json()["error"]["message"] == (
        "This path takes POST, not GET. The page for people is at /, and the interface is described at /docs."
    )


@pytest.mark.parametrize(("path", "target"), [("/ui", "./"), ("/health", "./livez")])
def test_paths_of_other_servers_lead_to_what_answers_here(ask: Ask, path: str, target: str) -> None:
    response = ask("GET", path)
    assert (response.status_code, response.headers["location"]) == (307, target)
    assert ask("POST", path).status_code == 404


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


def test_swagger_shows_the_document_and_loads_nothing_from_elsewhere(
    tmp_path: Path, registry: CollectorRegistry
) -> None:
    (tmp_path / "swagger-ui.css").write_text("css")

    async def talk() -> tuple[httpx.Response, httpx.Response]:
        app = create_app(
            DataPlane(Engine(decode_workers=1), api_settings(), metrics := Metrics(registry)),
            metrics,
            swagger_routes(tmp_path),
        )
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.get("/docs"), await client.get("/static_content/swagger-ui.css")

    page, asset = asyncio.run(talk())
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "//" not in page.text
    assert "./static_content/swagger-initializer.js" in page.text
    assert asset.text == "css"


PREFLIGHT = {
    "Origin": "https://viewer.example",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "x-request-id",
}


def test_pages_of_other_origins_are_not_let_in_by_default(ask: Ask) -> None:
    assert ask("OPTIONS", "/predict", headers=PREFLIGHT).status_code == 405
    response = ask("GET", "/models", headers={"Origin": "https://viewer.example"})
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_pages_of_the_origins_that_are_set_may_call_and_read_errors(ask: Ask) -> None:
    settings = {"cors_origins": ("https://viewer.example",)}
    preflight = ask("OPTIONS", "/predict", settings=settings, headers=PREFLIGHT)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, "https://viewer.example")
    refused = ask("POST", "/predict", settings=settings, headers={"Origin": "https://viewer.example"}, content=b"x")
    assert (refused.status_code, code_of(refused)) == (400, "malformed_request")
    assert refused.headers["access-control-allow-origin"] == "https://viewer.example"
    assert "X-Request-Id" in refused.headers["access-control-expose-headers"]
    other = ask("GET", "/models", settings=settings, headers={"Origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in other.headers
