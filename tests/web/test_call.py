"""Who waits, for how long, for which model: over real ASGI messages."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Message

from brainmri.batching.call import Call, Deadline, Priority
from brainmri.batching.engine import Engine
from brainmri.errors import BrainMRIError, NotReady, Overloaded
from brainmri.http.app import create_app
from brainmri.imaging import Picture
from brainmri.model.predictor import Prediction, Predictor
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.dataplane import DataPlane
from tests.application import Ask, api_settings, code_of


class StubEngine(Engine):
    """Records what it is asked, and answers when the test says so."""

    def __init__(self, predictor: Predictor, outcome: BrainMRIError | None = None) -> None:
        super().__init__(decode_workers=1)
        self.models.replace([predictor])
        self.asked: list[tuple[Predictor | None, Deadline, Priority]] = []
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self._given_up = asyncio.Event()
        self._outcome = outcome

    def require_room(self, call: Call) -> None:
        """Has room for everybody."""

    def require_room_for(self, requests: int) -> None:
        """Has room for everybody."""

    async def predict(self, call: Call, data: bytes | Picture) -> Prediction:
        self.asked.append((call.predictor, call.deadline, call.priority))
        self.begun.set()
        if self._outcome is not None:
            raise self._outcome
        try:
            await asyncio.wait_for(self._given_up.wait(), 60)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        assert self._outcome is not None
        raise self._outcome

    def give_up(self, outcome: BrainMRIError) -> None:
        """Ends what is waiting with an error."""
        self._outcome = outcome
        self._given_up.set()


def ask_stub(engine: StubEngine, path: str = "/predict", **headers: str) -> httpx.Response:
    async def talk() -> httpx.Response:
        app = create_app(DataPlane(engine, api_settings(), metrics := Metrics(CollectorRegistry())), metrics)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.post(path, content=b"x", headers={"content-type": "image/png", **headers})

    return asyncio.run(talk())


async def leave_while_waiting(engine: StubEngine, metrics: Metrics) -> list[Message]:
    """Uploads an image, disconnects once the engine works on it, and returns what was sent."""
    body: asyncio.Queue[Message] = asyncio.Queue()
    body.put_nowait({"type": "http.request", "body": b"image", "more_body": False})
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/predict",
        "query_string": b"",
        "headers": [(b"content-type", b"image/png")],
        "state": {},
    }
    serving = asyncio.ensure_future(
        create_app(DataPlane(engine, api_settings(), metrics), metrics)(scope, body.get, send)
    )
    await engine.begun.wait()
    body.put_nowait({"type": "http.disconnect"})
    await asyncio.wait_for(serving, 10)
    await asyncio.wait_for(engine.cancelled.wait(), 10)
    return sent


def test_the_work_of_a_client_that_leaves_is_cancelled(predictor: Predictor, registry: CollectorRegistry) -> None:
    async def talk() -> list[Message]:
        return await leave_while_waiting(StubEngine(predictor), Metrics(registry))

    start = asyncio.run(talk())[0]
    assert start["status"] == 499
    assert registry.get_sample_value("brainmri_predictions_total", {"label": "glioma"}) is None


def test_nothing_is_run_for_a_client_that_leaves_during_its_upload(predictor: Predictor) -> None:
    async def talk() -> StubEngine:
        engine = StubEngine(predictor)
        messages: Iterator[Message] = iter(
            [{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}]
        )

        async def receive() -> Message:
            return next(messages)

        async def send(_: Message) -> None:
            pass

        headers = [(b"content-type", b"image/png")]
        scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": headers}
        await create_app(DataPlane(engine, api_settings(), metrics := Metrics(CollectorRegistry())), metrics)(
            scope, receive, send
        )
        return engine

    assert asyncio.run(talk()).asked == []


def test_the_deadline_of_the_header_ends_the_wait_and_cancels_the_work(predictor: Predictor) -> None:
    engine = StubEngine(predictor)
    response = ask_stub(engine, **{"X-Request-Timeout-Ms": "50"})
    assert (response.status_code, code_of(response)) == (504, "deadline_exceeded")
    assert response.json()["error"]["limit"] == "0.05 s"
    assert engine.asked[0][1].budget_s == 0.05
    assert engine.cancelled.is_set()


def test_a_deadline_beyond_the_servers_counts_as_the_servers(predictor: Predictor) -> None:
    engine = StubEngine(predictor, NotReady("draining"))
    ask_stub(engine, **{"X-Request-Timeout-Ms": "999999999999"})
    ask_stub(engine)
    assert [deadline.budget_s for _, deadline, _ in engine.asked] == [30, 30]


@pytest.mark.parametrize("given", ["0", "-5", "1.5", "abc", "", " ", "1e3", "٣", "9" * 16])
@pytest.mark.parametrize("path", ["/predict", "/predict_batch", "/v1/models/brain_mri:predict"])
def test_a_bad_deadline_is_refused_with_its_limit(ask: Ask, given: str, path: str) -> None:
    response = ask("POST", path, headers={"X-Request-Timeout-Ms": given.encode()}, content=b"x")
    assert response.status_code == 400
    error = response.json()["error"]
    message = error if isinstance(error, str) else error["message"]
    assert message.startswith("The header X-Request-Timeout-Ms is")
    assert "30000" in message


@pytest.mark.parametrize(("given", "expected"), [("bulk", Priority.BULK), ("Interactive", Priority.INTERACTIVE)])
def test_the_priority_header_reaches_the_queue(predictor: Predictor, given: str, expected: Priority) -> None:
    engine = StubEngine(predictor, NotReady("draining"))
    ask_stub(engine, **{"X-Request-Priority": given})
    ask_stub(engine)
    assert [priority for *_, priority in engine.asked] == [expected, Priority.INTERACTIVE]


def test_another_priority_is_refused(ask: Ask) -> None:
    response = ask("POST", "/predict", headers={"X-Request-Priority": "urgent"}, content=b"x")
    assert (response.status_code, code_of(response)) == (400, "malformed_request")
    assert response.json()["error"]["limit"] == "interactive or bulk"


@pytest.mark.parametrize(("wait_s", "header"), [(0.01, "1"), (1.0, "1"), (2.1, "3")])
def test_an_overloaded_server_says_when_to_come_back(predictor: Predictor, wait_s: float, header: str) -> None:
    refusal = Overloaded("The queue is full.", retry_after_s=wait_s, limit="256 images")
    response = ask_stub(StubEngine(predictor, refusal))
    assert (response.status_code, code_of(response)) == (429, "overloaded")
    assert response.headers["retry-after"] == header
    assert response.json()["error"]["limit"] == "256 images"


def test_a_draining_server_says_when_to_come_back(predictor: Predictor) -> None:
    response = ask_stub(StubEngine(predictor, NotReady("draining")))
    assert (response.status_code, code_of(response), response.headers["retry-after"]) == (503, "not_ready", "5")


def second_model(predictor: Predictor, version: str) -> Predictor:
    contract = predictor.contract.model_copy(update={"version": version})
    return type(predictor)(contract, predictor._runtime, predictor._limits)


@pytest.mark.parametrize(
    ("query", "version"),
    [
        ("", "0.0.1"),
        ("?model=brain_mri_xception", "0.0.1"),
        ("?version=0.0.2", "0.0.2"),
        ("?model=brain_mri&version=0.0.2", "0.0.2"),
    ],
)
def test_a_request_chooses_its_model(
    ask: Ask, predictor: Predictor, png: Callable[..., bytes], query: str, version: str
) -> None:
    served = [predictor, second_model(predictor, "0.0.2")]
    one = ask("POST", f"/predict{query}", served=served, files={"image": png()})
    many = ask("POST", f"/predict_batch{query}", served=served, files={"images": png()})
    assert one.json()["model"]["version"] == version
    assert many.json()["results"][0]["model"]["version"] == version


def test_a_model_that_is_not_served_is_not_found_before_the_upload_is_read(ask: Ask) -> None:
    response = ask("POST", "/predict?model=other", content=b"x" * 10_000_000)
    assert (response.status_code, code_of(response)) == (404, "model_not_found")
    assert "brain_mri_xception:0.0.1" in response.json()["error"]["message"]


def test_the_stub_is_asked_for_the_chosen_model(predictor: Predictor) -> None:
    engine = StubEngine(predictor, NotReady("draining"))
    ask_stub(engine, "/predict?version=0.0.1")
    assert engine.asked[0][0] is predictor
    assert json.loads(ask_stub(engine, "/predict?version=9").content)["error"]["code"] == "model_not_found"
