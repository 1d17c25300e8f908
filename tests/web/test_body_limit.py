import asyncio

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brainmri.batching.admission import Admission, AdmissionLimits
from brainmri.web.body import BodyLimitMiddleware


def one_at_a_time() -> Admission:
    return Admission(AdmissionLimits(1, 1, 1, 1000, 1, 1), lambda _: None)


class Held:
    """Answers 204 once it is let go."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.set()
        if scope["path"] == "/a":
            await self.go.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (None, 204),
        ("application/json", 204),
        ("Application/JSON; charset=utf-8", 204),
        ("multipart/form-data; boundary=x", 400),
        ("application/x-www-form-urlencoded", 400),
        ("application/vnd.bentoml+pickle", 400),
        ("text/plain", 400),
    ],
)
def test_only_json_is_taken(kind: str | None, status: int) -> None:
    held = Held()
    held.go.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        guard = BodyLimitMiddleware(held, "/a", max_bytes=10, admission=one_at_a_time())
        await guard({**scope, "state": {"request_id": "r"}}, receive, send)

    async def talk() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.post("/a", content=b"x", headers={} if kind is None else {"content-type": kind})

    answer = asyncio.run(talk())
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["error"]["limit"] == "application/json"


def test_requests_beyond_the_number_are_refused_on_its_own_path_only() -> None:
    async def talk() -> list[httpx.Response]:
        held = Held()
        guard = BodyLimitMiddleware(held, "/a", max_bytes=10, admission=one_at_a_time())

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await guard({**scope, "state": {"request_id": "r"}}, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            first = asyncio.ensure_future(client.post("/a", content=b"x"))
            await held.begun.wait()
            async with asyncio.timeout(10):
                others = [await client.post(path, content=b"x") for path in ("/a", "/b")]
            held.go.set()
            return [*others, await first, await client.post("/a", content=b"x")]

    refused, *answered = asyncio.run(talk())
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["error"]["limit"] == "1 requests"
    assert [answer.status_code for answer in answered] == [204] * 3


def guarded(app: ASGIApp, receive: Receive, **limits: float) -> list[Message]:
    """Returns what is sent for one request of 3 bytes."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-length", b"3")]
    scope = {"type": "http", "path": "/a", "headers": headers, "state": {"request_id": "r"}, "query_string": b""}
    asyncio.run(BodyLimitMiddleware(app, "/a", 10, one_at_a_time(), **limits)(scope, receive, send))
    return sent


async def never() -> Message:
    await asyncio.sleep(60)
    raise AssertionError("nobody waits so long")


def test_a_body_that_does_not_come_is_answered_408() -> None:
    sent = guarded(Held(), never, idle_s=0.05, timeout_s=5)
    assert sent[0]["status"] == 408


def test_an_answer_that_takes_too_long_is_ended_with_504() -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"abc", "more_body": False}

    sent = guarded(Held(), receive, idle_s=5, timeout_s=0.05)
    assert sent[0]["status"] == 504


def test_an_answer_that_has_begun_may_take_longer_and_the_body_is_handed_on() -> None:
    bodies = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"abc", "more_body": False}

    async def slow(_: Scope, receive: Receive, send: Send) -> None:
        bodies.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.2)
        await send({"type": "http.response.body"})

    sent = guarded(slow, receive, idle_s=5, timeout_s=0.05)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert bodies == [b"abc"]


def test_a_client_that_leaves_before_its_body_has_come_calls_nobody() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    assert guarded(Held(), receive, idle_s=5, timeout_s=5)[0]["status"] == 499
