import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from brainmri.web.middleware import CONTENT_POLICY, SecurityHeadersMiddleware


async def answer(request: Request) -> Response:
    return PlainTextResponse("text", headers=dict(request.query_params))


def headers_of(path: str, **said: str) -> httpx.Headers:
    """Returns the headers of an answer that itself says some."""

    async def ask() -> httpx.Response:
        app = Starlette(routes=[Route("/", answer)], middleware=[Middleware(SecurityHeadersMiddleware)])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as client:
            return await client.get(path, params=said)

    return asyncio.run(ask()).headers


@pytest.mark.parametrize("path", ["/", "/nowhere"])
def test_every_answer_tells_browsers_what_not_to_do(path: str) -> None:
    headers = headers_of(path)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["content-security-policy"] == CONTENT_POLICY
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_files_are_asked_about_again_and_what_an_answer_says_itself_stays() -> None:
    assert headers_of("/", etag="x")["cache-control"] == "no-cache"
    own = {"cache-control": "max-age=5", "x-frame-options": "SAMEORIGIN"}
    headers = headers_of("/", **own)
    assert {name: headers[name] for name in own} == own


def test_pages_may_load_from_the_server_only_and_nothing_inline() -> None:
    policy = dict(part.strip().split(" ", 1) for part in CONTENT_POLICY.split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in CONTENT_POLICY
