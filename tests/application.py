"""One request to the application, in this process."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from brainmri.batching.engine import Engine
from brainmri.batching.schedule import Batching
from brainmri.http.app import create_app
from brainmri.imaging import DecodeLimits
from brainmri.model.bundle import Bundle
from brainmri.model.predictor import Predictor
from brainmri.observe.metrics import Metrics
from brainmri.settings import Settings
from brainmri.web.auth import KeyRing
from brainmri.web.surroundings import surroundings

MAX_IMAGE_BYTES = 200_000
MAX_REQUEST_BYTES = 1_000_000
MAX_REQUEST_IMAGES = 5

Ask = Callable[..., httpx.Response]


def api_settings(**changes: Any) -> Settings:
    """Returns small limits, with `changes`."""
    parts = {
        "max_image_bytes": MAX_IMAGE_BYTES,
        "max_request_bytes": MAX_REQUEST_BYTES,
        "max_request_images": MAX_REQUEST_IMAGES,
    }
    return Settings(**{**parts, **changes})


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def predictor(tiny_bundle: Bundle) -> Predictor:
    return Predictor.open(tiny_bundle, "auto", 1, DecodeLimits(max_bytes=MAX_IMAGE_BYTES))


@pytest.fixture
def ask(predictor: Predictor, registry: CollectorRegistry) -> Ask:
    """Sends one request.

    `served` are the models, the tiny one by default and none loaded if empty; `settings` changes the settings.
    """
    metrics = Metrics(registry)

    def send(
        method: str,
        path: str,
        *,
        served: Sequence[Predictor] = (predictor,),
        settings: dict[str, Any] | None = None,
        **request: Any,
    ) -> httpx.Response:
        async def talk() -> httpx.Response:
            engine = Engine(decode_workers=1, batching=Batching(max_batch_size=2))
            if served:
                await engine.start(lambda: served)
            chosen = api_settings(**(settings or {}))
            keys = None if chosen.api_keys_file is None else KeyRing(chosen.api_keys_file)
            app = create_app(engine, metrics, chosen, middleware=surroundings(chosen, metrics, keys))
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
                response = await client.request(method, path, **request)
            assert await engine.drain(grace_s=5)
            return response

        return asyncio.run(talk())

    return send


def code_of(response: httpx.Response) -> str:
    """Returns the code of an error, after checking that it has the one shape of errors."""
    body = response.json()
    assert list(body) == ["error"]
    assert list(body["error"]) == ["code", "message", "limit", "request_id"]
    assert body["error"]["request_id"] == response.headers["x-request-id"]
    return str(body["error"]["code"])
