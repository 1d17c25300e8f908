import asyncio

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Message, Receive, Scope, Send

from brainmri.batching.admission import Admission, AdmissionLimits
from brainmri.errors import NotReady, Overloaded
from brainmri.http.app import create_app
from brainmri.model.predictor import Predictor
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.dataplane import DataPlane
from brainmri.web.call import AdmissionMiddleware
from tests.application import api_settings, code_of
from tests.web.test_call import StubEngine


class Uploads:
    """Runs requests against the middleware; the application reads one piece whenever it is told to."""

    def __init__(self, max_bytes: int) -> None:
        self._middleware = AdmissionMiddleware(
            self._read, Admission(AdmissionLimits(1, 1, 1, max_bytes, 1, 1), lambda _: None)
        )

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> None:
        while await scope["go"].get():
            await receive()
            scope["read"].set()

    def begin(self, piece: bytes) -> "Upload":
        return Upload(self._middleware, piece)


class Upload:
    def __init__(self, middleware: AdmissionMiddleware, piece: bytes) -> None:
        self._scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": "/predict",
            "go": asyncio.Queue(),
            "read": asyncio.Event(),
        }

        async def receive() -> Message:
            return {"type": "http.request", "body": piece, "more_body": True}

        async def send(_: Message) -> None:
            raise AssertionError

        self._task = asyncio.ensure_future(middleware(self._scope, receive, send))

    async def piece(self) -> None:
        self._scope["read"].clear()
        self._scope["go"].put_nowait(True)
        reading = asyncio.ensure_future(self._scope["read"].wait())
        await asyncio.wait({reading, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            reading.cancel()
            self._task.result()

    async def end(self) -> None:
        self._scope["go"].put_nowait(False)
        await self._task


def test_a_piece_that_does_not_fit_beside_the_others_is_refused_and_what_it_held_is_free_again() -> None:
    async def talk() -> None:
        uploads = Uploads(max_bytes=100)
        first, second = uploads.begin(b"x" * 60), uploads.begin(b"x" * 30)
        await first.piece()
        await second.piece()
        with pytest.raises(Overloaded) as caught:
            await second.piece()
        assert (caught.value.limit, caught.value.retry_after_s) == ("100 bytes", 1)
        third = uploads.begin(b"x" * 40)
        await third.piece()
        await first.end()
        await third.piece()
        await third.end()

    asyncio.run(talk())


def test_a_request_that_is_alone_may_hold_more() -> None:
    async def talk() -> None:
        only = Uploads(max_bytes=100).begin(b"x" * 60)
        await only.piece()
        await only.piece()
        await only.end()

    asyncio.run(talk())


def test_the_refusal_is_a_429(predictor: Predictor) -> None:
    async def talk() -> list[httpx.Response]:
        engine = StubEngine(predictor, None)
        app = create_app(
            DataPlane(engine, api_settings(max_held_bytes=1000), metrics := Metrics(CollectorRegistry())), metrics
        )
        headers = {"content-type": "image/png", "X-Request-Timeout-Ms": "3000"}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            waiting = asyncio.ensure_future(client.post("/predict", content=b"x" * 600, headers=headers))
            await engine.begun.wait()
            refused = await client.post("/predict", content=b"x" * 600, headers=headers)
            engine.give_up(NotReady("draining"))
            return [refused, await waiting]

    refused, waited = asyncio.run(talk())
    assert (refused.status_code, code_of(refused), refused.headers["retry-after"]) == (429, "overloaded", "1")
    assert waited.status_code == 503
