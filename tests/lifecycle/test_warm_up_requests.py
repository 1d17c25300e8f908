import asyncio
import logging
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from brainmri.batching.engine import Engine
from brainmri.http.app import create_app
from brainmri.lifecycle.follower import send_warm_up_requests
from brainmri.model.bundle import Bundle
from brainmri.model.predictor import Predictor
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.dataplane import DataPlane
from brainmri.settings import Settings
from tests.batching.stand_in import WAIT_S


def test_warm_up_requests_are_decoded_and_answered_and_counted_and_logged_nowhere(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    predictor = Predictor.open(tiny_bundle)
    read, seen = predictor.read, list[bytes]()

    def noted_read(data: bytes, *more: Any) -> object:
        seen.append(data)
        return read(data, *more)

    async def talk() -> None:
        engine = Engine(1, observer=metrics)
        app = create_app(DataPlane(engine, Settings(), metrics), metrics, middleware=())

        async def warm_up() -> None:
            monkeypatch.setattr(predictor, "read", noted_read)
            await send_warm_up_requests(app, engine)

        await engine.start(lambda: [predictor], warm_up)
        await engine.drain(WAIT_S)

    before = metrics.exposition()
    with caplog.at_level(logging.DEBUG, "brainmri"):
        asyncio.run(talk())
    # The upload that is refused, then a picture.
    assert seen[0] == b"no image"
    assert seen[1].startswith(b"\xff\xd8")
    counted = [line for line in before.splitlines() if not line.startswith((b"#", b"brainmri_process_"))]
    after = metrics.exposition().splitlines()
    assert [line for line in counted if line not in after] == []
    assert [record for record in caplog.records if record.name.startswith("brainmri")] == []
