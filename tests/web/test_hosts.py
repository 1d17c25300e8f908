import asyncio
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from brainmri.settings import Settings
from brainmri.web.middleware import HostMiddleware, is_loopback


async def ask(app: Starlette, address: str, path: str, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=f"http://{address}") as client:
        return await client.post(path, headers=headers)


def answers(
    host: str, origin: str | None = None, address: str = "127.0.0.1", path: str = "/", **settings: Any
) -> tuple[int, str]:
    """Returns the status and the error's code, or the text, of a request with these headers to this address."""
    app = Starlette(
        routes=[Route("/{path:path}", lambda _: PlainTextResponse("served"), methods=["GET", "POST"])],
        middleware=[Middleware(HostMiddleware, settings=Settings(**settings))],
    )
    headers = {"Host": host, **({} if origin is None else {"Origin": origin})}
    answer = asyncio.run(ask(app, address, path, headers))
    return answer.status_code, answer.text if answer.is_success else answer.json()["error"]["code"]


EVERYWHERE = "0.0.0.0"  # noqa: S104 -- nothing listens
SERVED = (200, "served")
MISDIRECTED = (421, "misdirected_request")
FOREIGN = (403, "foreign_origin")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:3000", "127.0.0.1", "localhost:3000", "LOCALHOST", "[::1]:3000", "a.localhost"]
)
def test_a_server_on_loopback_takes_loopback_names(host: str) -> None:
    assert answers(host) == SERVED


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:3000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "192.168.0.7",
        "",
        "[::1",
    ],
)
def test_a_server_on_loopback_refuses_other_names(host: str) -> None:
    assert answers(host) == MISDIRECTED


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:8000", "http://localhost:3000", "http://127.0.0.1"]
)
def test_a_foreign_page_may_not_call(origin: str) -> None:
    assert answers("127.0.0.1:3000", origin) == FOREIGN


def test_its_own_page_and_those_that_are_named_may_call() -> None:
    assert answers("127.0.0.1:3000", "http://127.0.0.1:3000") == SERVED
    assert answers("127.0.0.1:3000", "https://ward.example", cors_origins="https://ward.example") == SERVED
    assert answers("127.0.0.1:3000", "https://evil.example", cors_origins="https://ward.example") == FOREIGN
    assert answers("127.0.0.1:3000", "https://any.example", cors_origins="*") == SERVED


def test_a_server_for_other_machines_takes_every_name_unless_some_are_given() -> None:
    assert answers("any.example", "https://other.example", http_host=EVERYWHERE) == SERVED
    assert (
        answers("MRI.example:443", "https://mri.example", http_host=EVERYWHERE, allowed_hosts="mri.example") == FOREIGN
    )
    assert (
        answers("mri.example:443", "https://mri.example:443", http_host=EVERYWHERE, allowed_hosts="mri.example")
        == SERVED
    )
    assert answers("evil.example", http_host=EVERYWHERE, allowed_hosts="mri.example") == MISDIRECTED
    assert answers("evil.example", "https://evil.example", allowed_hosts="*") == SERVED


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"])
def test_a_kubelet_that_asks_by_the_address_of_the_pod_hears_about_health(path: str) -> None:
    assert answers("10.0.0.7:3000", path=path, http_host=EVERYWHERE, allowed_hosts="mri.example") == SERVED


@pytest.mark.parametrize("path", ["/metrics", "/models", "/livez/more"])
def test_everything_else_is_answered_under_the_allowed_names_only(path: str) -> None:
    assert answers("10.0.0.7:3000", path=path, http_host=EVERYWHERE, allowed_hosts="mri.example") == MISDIRECTED


def test_a_server_on_loopback_answers_probes_under_loopback_names_only() -> None:
    assert answers("evil.example", path="/readyz") == MISDIRECTED


def test_a_request_to_another_address_than_loopback_is_not_checked_by_default() -> None:
    assert answers("any.example", "https://other.example", address="192.168.0.7") == SERVED


@pytest.mark.parametrize(("name", "loopback"), [("::1", True), ("127.1.2.3", True), (EVERYWHERE, False), ("::", False)])
def test_which_addresses_are_loopback(name: str, loopback: bool) -> None:
    assert is_loopback(name) is loopback
