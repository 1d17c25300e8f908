import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from brainmri.batching.admission import Admission, AdmissionLimits
from brainmri.observe.metrics import Metrics
from brainmri.settings import Settings
from brainmri.web.auth import KeyRing, edit_keys, new_key
from brainmri.web.stack import metrics_route, middleware_stack

ORIGIN = "https://viewer.example"


async def hello(_: Request) -> Response:
    return PlainTextResponse("hello")


@pytest.fixture
def key(tmp_path: Path) -> str:
    with edit_keys(tmp_path / "keys") as known:
        made, known["ward-3"] = new_key("ward-3")
    return made


def ask(folder: Path, method: str, path: str, *, origins: str = ORIGIN, **headers: str) -> httpx.Response:
    metrics = Metrics(CollectorRegistry())
    keys = KeyRing(folder / "keys")
    keys.load()
    settings = Settings(cors_origins=tuple(origins.split()))
    admission = Admission(AdmissionLimits.of(settings), lambda _: None)
    app = Starlette(
        routes=[Route("/hello", hello, methods=["POST"]), metrics_route(metrics)],
        middleware=middleware_stack(settings, metrics, keys, admission),
    )

    async def talk() -> httpx.Response:
        transport: Any = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.request(method, path, headers=sent)

    return asyncio.run(talk())


def test_a_browser_may_ask_without_a_key_whether_its_page_may_send_one(tmp_path: Path, key: str) -> None:
    asked = {"access_control_request_method": "POST", "access_control_request_headers": "authorization"}
    response = ask(tmp_path, "OPTIONS", "/hello", origin=ORIGIN, **asked)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in response.headers["access-control-allow-headers"].lower()
    assert ask(tmp_path, "OPTIONS", "/hello", origins="", origin=ORIGIN, **asked).status_code == 401


def test_a_page_can_read_that_its_key_is_missing(tmp_path: Path, key: str) -> None:
    refused = ask(tmp_path, "POST", "/hello", origin=ORIGIN)
    answered = ask(tmp_path, "POST", "/hello", origin=ORIGIN, x_api_key=key)
    assert (refused.status_code, answered.status_code) == (401, 200)
    for response in (refused, answered):
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert len(response.headers["x-request-id"]) == 32
    assert refused.json()["error"]["request_id"] == refused.headers["x-request-id"]


def test_other_pages_may_not(tmp_path: Path, key: str) -> None:
    response = ask(tmp_path, "POST", "/hello", origin="https://other.example", x_api_key=key)
    assert "access-control-allow-origin" not in response.headers


def test_prometheus_needs_no_key(tmp_path: Path, key: str) -> None:
    response = ask(tmp_path, "GET", "/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "brainmri_queue_images" in {family.name for family in text_string_to_metric_families(response.text)}
