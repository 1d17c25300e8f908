import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from brainmri.batching.engine import Engine
from brainmri.errors import InvalidSettings
from brainmri.http.app import create_app
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.dataplane import DataPlane
from brainmri.page.routes import SITE, page_routes
from brainmri.web.auth import KeyRing, edit_keys, new_key
from brainmri.web.stack import middleware_stack
from tests.application import api_settings

MOST_BYTES = 200_000
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def get(path: str, accept: str = BROWSER, **changes: Any) -> httpx.Response:
    """Asks a server that has no model yet."""

    async def talk() -> httpx.Response:
        settings, metrics = api_settings(**changes), Metrics(CollectorRegistry())
        keys = None if settings.api_keys_file is None else KeyRing(settings.api_keys_file)
        if keys is not None:
            keys.load()
        plane = DataPlane(Engine(decode_workers=1), settings, metrics)
        middleware = middleware_stack(settings, metrics, keys, plane.admission)
        app = create_app(plane, metrics, page_routes(settings), middleware=middleware)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.get(path, headers={"Accept": accept})

    return asyncio.run(talk())


@pytest.mark.parametrize("accept", [BROWSER, "*/*", "text/html, application/json"])
def test_a_browser_gets_the_page(accept: str) -> None:
    response = get("/", accept)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "Research use only." in response.text


def test_a_client_that_asks_for_json_gets_json() -> None:
    body = get("/", "application/json").json()
    assert body["name"] == "brainmri"
    assert body["notice"].startswith("Research use only.")
    assert body["links"]["openapi"] == "./docs.json"


def test_the_page_forbids_inline_scripts_and_has_none() -> None:
    response = get("/")
    policy = response.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=", response.text) == []


def test_everything_that_the_page_names_is_there_and_relative() -> None:
    named = re.findall(r'(?:src|href)="([^"#]+)"', (SITE / "index.html").read_text())
    assert "page/main.js" in named
    for address in set(named) - {"docs"}:
        assert get("/" + address).status_code == 200, address
        assert "//" not in address
        assert not address.startswith("/")


def test_modules_import_only_modules_that_are_there() -> None:
    modules = {file.name: file.read_text() for file in (SITE / "page").glob("*.js")}
    imported = {name for text in modules.values() for name in re.findall(r'^import .* from "\./(.+)";$', text, re.M)}
    assert imported == modules.keys() - {"main.js"}
    assert [name for name, text in modules.items() if re.search(r'from "(?!\./)', text)] == []


def test_the_page_has_at_most_200_kilobytes() -> None:
    total = sum(file.stat().st_size for file in SITE.rglob("*") if file.is_file())
    assert 50_000 < total < MOST_BYTES


def test_files_are_asked_about_again() -> None:
    assert get("/page/main.js").headers["cache-control"] == "no-cache"


def test_the_configuration_tells_limits_and_what_is_offered() -> None:
    body = get("/page/config.json").json()
    settings = api_settings()
    assert body["limits"] == {
        "image_bytes": settings.max_image_bytes,
        "report_images": settings.max_request_images,
        "report_bytes": settings.max_request_bytes,
    }
    assert "explain" not in body["features"] or get("/explain").status_code == 405


def test_an_operators_samples_take_the_place_of_ours(tmp_path: Path) -> None:
    for name in ("ward b.png", "unsure.png", "notes.txt", "glioma.jpg"):
        (tmp_path / name).write_bytes(b"content of " + name.encode())
    samples = get("/page/config.json", samples=tmp_path).json()["samples"]
    assert [sample["name"] for sample in samples] == ["glioma", "unsure", "ward b"]
    assert get("/" + samples[2]["url"], samples=tmp_path).content == b"content of ward b.png"


def test_a_folder_of_samples_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"BRAINMRI_SAMPLES=.*/none is not a folder"):
        page_routes(api_settings(samples=tmp_path / "none"))


@pytest.mark.parametrize("path", ["/page/../../routes.py", "/page/%2e%2e/%2e%2e/routes.py", "/page/samples/../../x"])
def test_nothing_outside_the_page_is_served(path: str) -> None:
    assert get(path).status_code == 404


def test_the_page_needs_no_key_and_predictions_do(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    with edit_keys(file) as keys:
        keys["ward-3"] = new_key("ward-3")[1]
    for path in ("/", "/page/main.js", "/page/config.json"):
        assert get(path, api_keys_file=file).status_code == 200
    assert get("/models", api_keys_file=file).status_code == 401
