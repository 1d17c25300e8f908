import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse

from brainmri.web.failures import RetryAfterMiddleware


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [(429, {}, "1"), (503, {}, "5"), (429, {"Retry-After": "7"}, "7"), (200, {}, None), (504, {}, None)],
)
def test_refusals_that_lack_it_say_when_to_try_again(status: int, headers: dict[str, str], seconds: str | None) -> None:
    async def talk() -> httpx.Response:
        transport = httpx.ASGITransport(RetryAfterMiddleware(PlainTextResponse("no", status, headers)))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/")

    assert asyncio.run(talk()).headers.get("retry-after") == seconds
