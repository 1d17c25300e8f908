import asyncio
import errno
import logging
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from brainmri.batching.engine import Engine
from brainmri.lifecycle import worker as lifecycle
from brainmri.lifecycle.state import Heartbeats, ServerState
from brainmri.lifecycle.worker import Worker
from brainmri.model import store
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.dataplane import DataPlane
from brainmri.open_inference.grpc_server import GrpcServer
from brainmri.settings import Settings
from brainmri.web.connections import Connections
from tests.batching.stand_in import until
from tests.tiny import write_tiny_bundle

TAG = "brain_mri_xception:0.0.1"


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, bentoml_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stored model, a quick heart, and the signal handlers as they were."""
    monkeypatch.setattr(lifecycle, "BEAT_S", 0.01)
    store.import_bundle(write_tiny_bundle(tmp_path / "bundle", tmp_path).folder)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    shutil.rmtree(bentoml_home / "models" / "brain_mri_xception")


async def nothing() -> None:
    """Sends no warm-up requests."""


def folder() -> Path:
    """Returns where the workers of this test's server keep their signs of life."""
    return ServerState(store.home(), Settings().http_port).folder / "workers" / str(os.getppid())


@asynccontextmanager
async def working(
    models: tuple[str, ...] = (TAG,), metrics: Metrics | None = None, **more: object
) -> AsyncIterator[tuple[Worker, Engine]]:
    settings = Settings.model_validate({"models": models, "threads": 1, "grpc_port": 0, "shutdown_delay_s": 0, **more})
    shutil.rmtree(folder(), ignore_errors=True)
    engine, metrics = Engine(decode_workers=1), metrics or Metrics(CollectorRegistry())
    grpc = GrpcServer(DataPlane(engine, settings, metrics), metrics)
    worker = Worker(engine, metrics, settings, grpc, Connections(settings), nothing)
    await worker.start()
    try:
        yield worker, engine
    finally:
        await worker.stop()


def test_it_is_ready_when_every_worker_of_the_server_is() -> None:
    async def talk() -> None:
        async with working(workers=2) as (worker, engine):
            await until(lambda: engine.ready)
            await asyncio.sleep(0.1)
            assert not worker.ready
            other = folder() / str(os.getppid())
            other.touch()
            assert not worker.ready
            other.write_text((folder() / str(os.getpid())).read_text())
            assert worker.ready
            engine.retire()
            assert not worker.ready

    asyncio.run(talk())


def test_the_metrics_show_whether_it_is_ready() -> None:
    metrics = Metrics(CollectorRegistry())

    def shown(ready: int) -> bool:
        return f"brainmri_ready {ready}.0\n" in metrics.exposition().decode()

    async def talk() -> None:
        assert shown(0)
        async with working(metrics=metrics) as (_, engine):
            await until(lambda: engine.ready)
            await until(lambda: shown(1))
            engine.fail()
            await until(lambda: shown(0))

    asyncio.run(talk())


def test_a_model_that_cannot_be_loaded_shows_in_every_interface() -> None:
    async def talk() -> None:
        async with working(("brain_mri_xception:9.9.9",)) as (worker, engine):
            await until(lambda: not worker.alive)
            assert not engine.alive

    asyncio.run(talk())


def test_a_worker_that_is_not_ready_says_why() -> None:
    async def talk() -> None:
        async with working(workers=2) as (worker, engine):
            assert worker.unready == "The models are being loaded."
            await until(lambda: engine.ready)
            assert worker.unready == "Another worker of this server is not ready."
            (folder() / str(os.getppid())).write_text("failed\nThe models cannot be loaded: one was altered.")
            assert worker.unready == "The models cannot be loaded: one was altered."
            (folder() / str(os.getppid())).write_text("ready")
            await until(lambda: worker.unready is None)
            worker._retire()
            assert worker.unready == "The server is about to end."

    asyncio.run(talk())


def test_a_bundle_that_was_altered_is_told_without_where_it_lies() -> None:
    stored = store.home() / "models" / "brain_mri_xception" / "0.0.1" / "openvino-f32" / "model.bin"
    stored.write_bytes(stored.read_bytes()[:-1] + b"?")

    async def talk() -> str | None:
        async with working() as (worker, _):
            await until(lambda: not worker.alive)
            await until(lambda: Heartbeats(folder().parent.parent, os.getppid()).problem() is not None)
            return worker.unready

    told = asyncio.run(talk()) or ""
    assert told.startswith("The models cannot be loaded: openvino-f32/model.bin in ")
    assert "was altered" in told
    assert str(store.home()) not in told


def test_its_heart_goes_on_beating_after_a_beat_that_could_not_be_written(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    beat, full = Heartbeats.beat, True

    def sometimes(self: Heartbeats, ready: bool, problem: str | None = None) -> None:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        beat(self, ready, problem)

    async def talk() -> None:
        nonlocal full
        monkeypatch.setattr(Heartbeats, "beat", sometimes)
        async with working(workers=2) as (worker, engine):
            await until(lambda: engine.ready and "No space left" in caplog.text)
            assert not worker.ready
            (folder() / str(os.getppid())).write_text("ready")
            full = False
            await until(lambda: worker.ready)

    with caplog.at_level(logging.ERROR):
        asyncio.run(talk())


def test_what_closes_after_its_end_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off: list[None] = []
    monkeypatch.setattr(lifecycle, "_abandon", lambda: cut_off.append(None))

    async def talk() -> float:
        async with working(shutdown_grace_s=2) as (worker, engine):
            await until(lambda: engine.ready)
            begun = time.monotonic()
            left_s = await worker.stop()
            assert left_s <= 2
            # Past the grace: traces are being sent.
            await asyncio.sleep(begun + 2.5 - time.monotonic())
        return left_s

    assert asyncio.run(talk()) > 0
    assert cut_off == []
