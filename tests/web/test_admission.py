import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from brainmri.batching.admission import Admission, AdmissionLimits, Work
from brainmri.errors import Overloaded
from brainmri.web.call import AdmissionMiddleware, admitted_of, client_of

WORK = (
    "/predict",
    "/predict_batch",
    "/v1/models/brain_mri_xception:predict",
    "/v1/models/brain_mri_xception/versions/1:predict",
    "/explain",
    "/report",
    "/probabilities",
    "/v2/models/brain_mri_xception/infer",
    "/v2/models/brain_mri_xception/versions/1/infer",
)


class Queue:
    """Stands for an engine; has room or not."""

    def __init__(self, full: bool) -> None:
        self.full = full
        self.asked = 0

    def require_room_for(self, requests: int) -> None:
        self.asked += 1
        if self.full:
            raise Overloaded("The queue is full: 1 images. Try again in 1.5 s.", retry_after_s=1.5, limit="1 images")


def send_to(queue: Queue, method: str, path: str) -> tuple[list[int], list[Message]]:
    """Returns how many were expected whenever the application was called, and what was sent without it."""
    admission = Admission(AdmissionLimits(1, 1, 1, 1000, 1, 1), queue.require_room_for)
    called: list[int] = []
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert admitted_of(Request(scope)) is not None
        called.append(admission.expected)

    async def receive() -> Message:
        raise AssertionError("a body that will be refused is not read")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [], "state": {"request_id": "r"}}
    asyncio.run(AdmissionMiddleware(app, admission)(scope, receive, send))
    assert admission.expected == 0
    return called, sent


@pytest.mark.parametrize("path", WORK)
def test_work_is_refused_unread_while_the_queue_is_full(path: str) -> None:
    called, sent = send_to(Queue(full=True), "POST", path)
    assert called == []
    start, body = sent
    assert start["status"] == 429
    assert (b"retry-after", b"2") in start["headers"]
    assert b"The queue is full: 1 images. Try again in 1.5 s." in body["body"]


@pytest.mark.parametrize("path", WORK)
def test_work_is_expected_while_its_body_is_read(path: str) -> None:
    assert send_to(Queue(full=False), "POST", path) == ([1], [])


@pytest.mark.parametrize(("method", "path"), [("GET", "/predict"), ("POST", "/score"), ("GET", "/livez")])
def test_everything_else_asks_the_queue_for_nothing(method: str, path: str) -> None:
    queue = Queue(full=True)
    assert send_to(queue, method, path) == ([0], [])
    assert queue.asked == 0


@pytest.mark.parametrize("path", ["/score", "/jobs", "/report"])
def test_bulk_work_has_slots(path: str) -> None:
    admission = Admission(AdmissionLimits(1, 1, 1, 1000, 1, 1), Queue(full=False).require_room_for)
    with admission.admit(Work.BULK, "address 10.0.0.1"):
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def never(*_: object) -> Message:
            raise AssertionError("nothing is asked of a request that is refused")

        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "state": {"request_id": "r"}}
        asyncio.run(AdmissionMiddleware(never, admission)(scope, never, send))  # type: ignore[arg-type]
    assert admission.expected == 0
    assert (sent[0]["status"], b'"code":"too_many_jobs"' in sent[1]["body"]) == (429, True)


@pytest.mark.parametrize(
    ("state", "client", "expected"),
    [
        ({"key_name": "ward"}, ("10.0.0.1", 5), "key ward"),
        ({"key_name": None}, ("10.0.0.1", 5), "address 10.0.0.1"),
        ({}, ("10.0.0.1", 6), "address 10.0.0.1"),
        ({}, None, ""),
    ],
)
def test_a_client_is_its_key_or_its_address(
    state: dict[str, Any], client: tuple[str, int] | None, expected: str
) -> None:
    assert client_of(Request({"type": "http", "client": client, "state": state})) == expected
