"""One request to the application, in this process."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from brainmri.batching.engine import Engine
from brainmri.batching.schedule import Batching
from brainmri.bulk.jobs.sqlite_store import SqliteStore
from brainmri.bulk.serving import Bulk
from brainmri.http.app import create_app
from brainmri.imaging import DecodeLimits
from brainmri.model.bundle import Bundle
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Predictor
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.dataplane import DataPlane
from brainmri.settings import Settings
from brainmri.web.auth import KeyRing
from brainmri.web.stack import middleware_stack

MAX_IMAGE_BYTES = 200_000
MAX_REQUEST_BYTES = 1_000_000
MAX_REQUEST_IMAGES = 5

Ask = Callable[..., httpx.Response]
Visit = Callable[["Service"], Awaitable[None]]
SOON_S = 20


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
    return Predictor.open(tiny_bundle, ModelOptions(limits=DecodeLimits(max_bytes=MAX_IMAGE_BYTES)))


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
            plane = DataPlane(engine, chosen, metrics)
            app = create_app(plane, metrics, middleware=middleware_stack(chosen, metrics, keys, plane.admission))
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


class Service:
    """The application with its jobs, in this process."""

    def __init__(self, client: httpx.AsyncClient, engine: Engine, bulk: Bulk, registry: CollectorRegistry) -> None:
        self.client = client
        self.engine = engine
        self.bulk = bulk
        self.registry = registry

    @property
    def store(self) -> SqliteStore:
        assert isinstance(self.bulk.store, SqliteStore)
        return self.bulk.store

    async def make(self, data: bytes, **request: Any) -> str:
        """Makes a job; returns its id."""
        response = await self.client.post("/jobs", content=data, **request)
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    async def until(self, identity: str, *states: str, **request: Any) -> dict[str, Any]:
        """Waits until a job is in one of the states; returns it."""
        async with asyncio.timeout(SOON_S):
            while True:
                body: dict[str, Any] = (await self.client.get(f"/jobs/{identity}", **request)).json()
                if body["state"] in states:
                    return body
                await asyncio.sleep(0.01)

    async def until_counted(self, state: str) -> None:
        """Waits until one job has been counted as ended so; it is after its state could be seen."""
        async with asyncio.timeout(SOON_S):
            while self.registry.get_sample_value("brainmri_scoring_jobs_total", {"state": state}) != 1:
                await asyncio.sleep(0.01)

    async def rows(self, identity: str) -> list[dict[str, Any]]:
        response = await self.client.get(f"/jobs/{identity}/results")
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/x-ndjson"
        return [json.loads(line) for line in response.text.splitlines()]


@pytest.fixture
def serve(predictor: Predictor, tmp_path: Path) -> Callable[..., None]:
    """Lets a test visit a service: `serve(visit)`, again for the next start; `started=False` runs no jobs."""

    def start(visit: Visit, *, started: bool = True, **settings: Any) -> None:
        async def talk() -> None:
            parts = {"max_archive_bytes": 2_000_000, "max_archive_images": 200, "jobs_dir": tmp_path / "jobs"}
            chosen = api_settings(**{**parts, **settings})
            registry = CollectorRegistry()
            metrics = Metrics(registry)
            engine = Engine(decode_workers=1, batching=Batching(max_batch_size=2))
            bulk = Bulk.of(engine, metrics, chosen)
            bulk.prepare()
            await engine.start(lambda: [predictor])
            if started:
                bulk.start()
            keys = None if chosen.api_keys_file is None else KeyRing(chosen.api_keys_file)
            plane = DataPlane(engine, chosen, metrics)
            middleware = middleware_stack(chosen, metrics, keys, plane.admission)
            app = create_app(plane, metrics, middleware=middleware, bulk=bulk)
            try:
                async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
                    await visit(Service(client, engine, bulk, registry))
            finally:
                engine.retire()
                await bulk.stop()
            assert await engine.drain(grace_s=5)

        asyncio.run(talk())

    return start
