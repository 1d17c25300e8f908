import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from starlette.types import Message, Receive, Scope, Send

from brainmri.errors import Overloaded
from brainmri.web.door import DoorMiddleware

WORK = (
    "/predict",
    "/predict_batch",
    "/v1/models/brain_mri_xception:predict",
    "/v1/models/brain_mri_xception/versions/1:predict",
    "/v2/models/brain_mri_xception/infer",
    "/v2/models/brain_mri_xception/versions/1/infer",
)


class Doorkeeper:
    """Stands for an engine; `inside` counts the requests that were let in and have not left."""

    def __init__(self, full: bool) -> None:
        self.full = full
        self.inside = 0

    @contextmanager
    def let_in(self) -> Iterator[None]:
        if self.full:
            raise Overloaded("The queue is full: 1 images. Try again in 1.5 s.", retry_after_s=1.5, limit="1 images")
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1


def send_to(engine: Doorkeeper, method: str, path: str) -> tuple[list[int], list[Message]]:
    """Returns how many were inside whenever the application was called, and what was sent without it."""
    called: list[int] = []
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        called.append(engine.inside)

    async def receive() -> Message:
        raise AssertionError("a body that will be refused is not read")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [], "state": {"request_id": "r"}}
    asyncio.run(DoorMiddleware(app, engine)(scope, receive, send))  # type: ignore[arg-type]
    return called, sent


@pytest.mark.parametrize("path", WORK)
def test_work_is_refused_unread_while_the_queue_is_full(path: str) -> None:
    called, sent = send_to(Doorkeeper(full=True), "POST", path)
    assert called == []
    start, body = sent
    assert start["status"] == 429
    assert (b"retry-after", b"2") in start["headers"]
    assert b"The queue is full: 1 images. Try again in 1.5 s." in body["body"]


@pytest.mark.parametrize("path", WORK)
def test_work_counts_while_it_is_inside(path: str) -> None:
    engine = Doorkeeper(full=False)
    assert send_to(engine, "POST", path) == ([1], [])
    assert engine.inside == 0


@pytest.mark.parametrize(("method", "path"), [("GET", "/predict"), ("POST", "/score"), ("GET", "/livez")])
def test_everything_else_passes(method: str, path: str) -> None:
    assert send_to(Doorkeeper(full=True), method, path) == ([0], [])
