import asyncio

import httpx
from starlette.types import Receive, Scope, Send

from brainmri.web.body_limit import BodyLimitMiddleware


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


def test_requests_beyond_the_number_are_refused_on_its_own_path_only() -> None:
    async def talk() -> list[httpx.Response]:
        held = Held()
        guard = BodyLimitMiddleware(held, "/a", max_bytes=10, max_requests=1)

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
