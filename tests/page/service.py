"""The application with the page on a real port, in a thread of this process: it starts in a second where a whole server
takes ten. BentoML's own `/readyz` stands here in short.
"""

import asyncio
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from brainmri.batching.engine import Engine
from brainmri.http.app import create_app
from brainmri.imaging import DecodeLimits
from brainmri.model.bundle import load_bundle
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Predictor
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.dataplane import DataPlane
from brainmri.page.routes import page_routes
from brainmri.settings import Settings
from brainmri.web.auth import KeyRing
from brainmri.web.stack import middleware_stack
from tests.tiny import write_tiny_bundle

PATIENCE_S = 120


def tiny(folder: Path, *, min_confidence: float = 0.8, **changes: Any) -> Path:
    """Returns the bundle of a tiny model that knows novelty; made once."""
    bundle = folder / "bundle" / "brain_mri_xception"
    if not bundle.exists():
        # The score is 8.85 for the colours of a class and 10.1 for white: only white is novel.
        write_tiny_bundle(bundle, folder, novelty_threshold=9.0, min_confidence=min_confidence, **changes)
    return bundle


@contextmanager
def service(folder: Path, port: int = 0, bundles: Sequence[Path] = (), **changes: Any) -> Iterator[str]:
    """Serves models, the default first, or else one tiny one that is unsure below 0.8; yields the address."""
    served = bundles or [tiny(folder)]
    settings = Settings(**{"max_image_bytes": 300_000, **changes})
    listener = socket.create_server(("127.0.0.1", port))
    running: list[uvicorn.Server] = []
    ready = threading.Event()

    async def serve() -> None:
        engine = await _engine(served, settings.max_image_bytes)
        server = uvicorn.Server(uvicorn.Config(_app(engine, settings), log_level="warning", lifespan="off"))
        running.append(server)
        ready.set()
        await server.serve([listener])
        await engine.drain(grace_s=5)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(PATIENCE_S)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        running[0].should_exit = running[0].force_exit = True
        thread.join(PATIENCE_S)
        listener.close()
    assert not thread.is_alive()


async def _engine(bundles: Sequence[Path], max_bytes: int) -> Engine:
    options = ModelOptions(limits=DecodeLimits(max_bytes=max_bytes))
    predictors = [Predictor.open(load_bundle(bundle), options) for bundle in bundles]
    engine = Engine(decode_workers=1)
    await engine.start(lambda: predictors)
    return engine


def _app(engine: Engine, settings: Settings) -> Any:
    async def readyz(_: Request) -> Response:
        return Response(status_code=200 if engine.ready else 503)

    metrics = Metrics(CollectorRegistry())
    keys = None if settings.api_keys_file is None else KeyRing(settings.api_keys_file)
    if keys is not None:
        keys.load()
    pages = [Route("/readyz", readyz, methods=["GET"]), *page_routes(settings)]
    plane = DataPlane(engine, settings, metrics)
    return create_app(plane, metrics, pages, middleware=middleware_stack(settings, metrics, keys, plane.admission))
