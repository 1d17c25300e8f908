import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from brainmri.errors import ImageUnreadable
from brainmri.observe.metrics import Metrics
from brainmri.observe.request_record import current_record
from brainmri.web.auth import KeyMiddleware, KeyRing
from brainmri.web.middleware import (
    CLIENT_LEFT,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    UNMATCHED,
    FaultMiddleware,
    RequestMiddleware,
    is_probe,
    sane_request_id,
)


async def echo(request: Request) -> Response:
    return Response(await request.body())


async def refuse(request: Request) -> Response:
    request.state.error = ImageUnreadable("Not an image.")
    return PlainTextResponse("no", 400)


async def fail(_: Request) -> Response:
    raise ValueError("a secret detail")


async def leave(_: Request) -> Response:
    raise ClientDisconnect


async def left(_: Request, __: Exception) -> Response:
    return Response(status_code=CLIENT_LEFT)


async def break_off(_: Request) -> Response:
    async def pieces() -> Any:
        yield b"first"
        raise ValueError("a secret detail")

    return StreamingResponse(pieces())


async def forever(_: Request) -> Response:
    await asyncio.Event().wait()
    raise AssertionError


async def unknown(_: Request) -> Response:
    return PlainTextResponse("?", 404)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def app(registry: CollectorRegistry) -> Starlette:
    return make(registry)


def make(registry: CollectorRegistry, *more: Middleware) -> Starlette:
    routes = [
        Route("/echo/{name}", echo, methods=["GET", "POST"]),
        Route("/refuse", refuse),
        Route("/fail", fail),
        Route("/leave", leave),
        Route("/break_off", break_off),
        Route("/forever", forever),
        Route("/livez", echo),
        Route("/v2/models/{name}/infer", echo),
        Mount("/inner", Starlette(routes=[Route("/deep/{number}", echo)])),
        Route("/{path:path}", unknown, name=UNMATCHED),
    ]
    surrounding = Middleware(RequestMiddleware, metrics=Metrics(registry))
    middleware = [surrounding, *more, Middleware(FaultMiddleware)]
    return Starlette(routes=routes, middleware=middleware, exception_handlers={ClientDisconnect: left})


def ask(app: Any, path: str, method: str = "GET", **request: Any) -> httpx.Response:
    async def talk() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.request(method, path, **request)

    return asyncio.run(talk())


def counted(registry: CollectorRegistry) -> dict[tuple[str, str, str], float]:
    return {
        (sample.labels["route"], sample.labels["protocol"], sample.labels["status"]): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "brainmri_requests_total"
    }


@pytest.fixture
def access(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    """The fields of the lines in the access log."""
    caplog.set_level(logging.INFO, "brainmri")
    return lambda: [vars(record)["fields"] for record in caplog.records if record.name == "brainmri.access"]


def test_the_callers_id_comes_back(app: Starlette) -> None:
    assert ask(app, "/echo/a", headers={"X-Request-Id": "abc.1_2-3"}).headers["x-request-id"] == "abc.1_2-3"


@pytest.mark.parametrize("given", ["", "two words", "x" * 65, "a/b", "a\u00e9", "<script>", "a;b"])
def test_an_id_that_could_do_harm_is_replaced(given: str) -> None:
    made = sane_request_id(given)
    assert made != given
    assert len(made) == 32
    assert made != sane_request_id(given)


def test_requests_are_counted_by_template_protocol_and_status(app: Starlette, registry: CollectorRegistry) -> None:
    for name in ("a", "b", "c"):
        ask(app, f"/echo/{name}")
    ask(app, "/refuse")
    ask(app, "/v2/models/brain_mri/infer")
    ask(app, "/inner/deep/7")
    assert counted(registry) == {
        ("/echo/{name}", "http", "2xx"): 3,
        ("/refuse", "http", "4xx"): 1,
        ("/v2/models/{name}/infer", "open_inference_rest", "2xx"): 1,
        ("/deep/{number}", "http", "2xx"): 1,
    }


def test_probes_and_unknown_paths_make_no_series(app: Starlette, registry: CollectorRegistry) -> None:
    for path in ("/livez", "/nothing", "/wp-login.php", "/echo"):
        ask(app, path)
    assert counted(registry) == {}


def test_probes_are_not_logged_and_an_unknown_path_is_not_quoted(
    app: Starlette, access: Callable[[], list[dict[str, Any]]], caplog: pytest.LogCaptureFixture
) -> None:
    ask(app, "/livez")
    assert access() == []
    ask(app, "/patient-doe.png")
    assert [line["route"] for line in access()] == ["unmatched"]
    assert "doe" not in "".join(str(vars(record)) for record in caplog.records if record.name.startswith("brainmri"))


@pytest.mark.parametrize(
    ("path", "probe"),
    [
        ("/livez", True),
        ("/metrics", True),
        ("/v2/health/ready", True),
        ("/v2/models/a/ready", True),
        ("/v2/models/a/versions/1/ready", True),
        ("/v2/models/a/infer", False),
        ("/v2/models/a/b/ready", False),
        ("/livez/", False),
        ("/predict", False),
        ("/", False),
    ],
)
def test_what_is_a_probe(path: str, probe: bool) -> None:
    assert is_probe(path) is probe


@pytest.mark.parametrize("path", ["/refuse%0A", "/refuse%00", "/refuse%7F"])
def test_a_path_with_a_control_character_reaches_no_route(
    app: Starlette, registry: CollectorRegistry, path: str
) -> None:
    response = ask(app, path)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    assert registry.get_sample_value("brainmri_refused_total", {"reason": "image_unreadable"}) is None


@pytest.mark.parametrize(("size", "status"), [(MAX_HEADER_BYTES - 1000, 200), (MAX_HEADER_BYTES, 431)])
def test_headers_have_a_limit_in_all(app: Starlette, size: int, status: int) -> None:
    response = ask(app, "/echo/a", headers={"X-One": "x" * (size // 2), "X-Two": "x" * (size // 2)})
    assert response.status_code == status
    assert status == 200 or str(MAX_HEADER_BYTES) in response.json()["error"]["message"]


@pytest.mark.parametrize(("count", "status"), [(MAX_HEADERS - 10, 200), (MAX_HEADERS, 431)])
def test_headers_have_a_limit_on_their_number(app: Starlette, count: int, status: int) -> None:
    # The client adds a few of its own.
    response = ask(app, "/echo/a", headers={f"X-{number}": "x" for number in range(count)})
    assert response.status_code == status
    assert status == 200 or str(MAX_HEADERS) in response.json()["error"]["message"]


def test_an_unexpected_exception_is_a_500_without_details_and_a_traceback_in_the_log(
    app: Starlette, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    response = ask(app, "/fail", headers={"X-Request-Id": "r-1"})
    assert response.status_code == 500
    error = response.json()["error"]
    assert (error["code"], error["request_id"]) == ("internal", "r-1")
    assert "secret" not in response.text
    assert counted(registry) == {("/fail", "http", "5xx"): 1}
    assert [record.message for record in caplog.records if record.exc_info] == ["Unexpected error"]


def test_an_exception_in_the_midst_of_an_answer_closes_the_connection_and_counts_as_a_fault(
    app: Starlette, registry: CollectorRegistry
) -> None:
    with pytest.raises(ValueError, match="secret"):
        ask(app, "/break_off")
    assert counted(registry) == {("/break_off", "http", "5xx"): 1}


def test_a_client_that_leaves_is_499(
    app: Starlette, registry: CollectorRegistry, access: Callable[[], list[dict[str, Any]]]
) -> None:
    ask(app, "/leave")
    assert counted(registry) == {("/leave", "http", "4xx"): 1}
    assert [line["status"] for line in access()] == [499]


def test_a_request_that_is_cancelled_is_499(app: Starlette, registry: CollectorRegistry) -> None:
    async def give_up() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            await asyncio.wait_for(client.get("/forever"), timeout=0.1)

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    assert counted(registry) == {("/forever", "http", "4xx"): 1}


def test_an_error_is_counted_by_its_code_and_named_in_the_log(
    app: Starlette, registry: CollectorRegistry, access: Callable[[], list[dict[str, Any]]]
) -> None:
    ask(app, "/refuse")
    assert registry.get_sample_value("brainmri_refused_total", {"reason": "image_unreadable"}) == 1
    assert [(line["route"], line["status"], line["error"]) for line in access()] == [
        ("/refuse", 400, "image_unreadable")
    ]


def test_the_line_tells_the_sizes(app: Starlette, access: Callable[[], list[dict[str, Any]]]) -> None:
    ask(app, "/echo/a", "POST", content=b"x" * 1234)
    [line] = access()
    assert (line["method"], line["received_bytes"], line["sent_bytes"]) == ("POST", 1234, 1234)
    assert line["duration_ms"] > 0


def test_a_caller_without_a_key_is_counted_by_route_but_unknown_paths_are_not(
    registry: CollectorRegistry, tmp_path: Path
) -> None:
    (tmp_path / "keys").touch()
    keys = KeyRing(tmp_path / "keys")
    keys.load()
    app = make(registry, Middleware(KeyMiddleware, keys=keys))
    assert [ask(app, path).status_code for path in ("/echo/a", "/inner/deep/3", "/nothing")] == [401, 401, 401]
    assert counted(registry) == {("/echo/{name}", "http", "4xx"): 1, ("/deep/{number}", "http", "4xx"): 1}
    assert registry.get_sample_value("brainmri_refused_total", {"reason": "unauthenticated"}) == 3


def test_bodies_pass_piece_by_piece(registry: CollectorRegistry) -> None:
    events: list[str] = []

    async def receive() -> dict[str, Any]:
        events.append("receive")
        return {"type": "http.request", "body": b"xy", "more_body": len(events) < 6}

    async def send(message: Any) -> None:
        events.append(f"send {message.get('body', b'').decode()}".strip())

    async def answer(_: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(2):
            await receive()
            events.append("read")
            await send({"type": "http.response.body", "body": b"z", "more_body": True})

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [], "app": Starlette()}
    asyncio.run(RequestMiddleware(FaultMiddleware(answer), Metrics(registry))(scope, receive, send))
    assert events == ["send", "receive", "read", "send z", "receive", "read", "send z"]


def test_the_record_is_current_for_as_long_as_the_request_lasts(registry: CollectorRegistry) -> None:
    seen = []

    async def answer(scope: Any, _: Any, send: Any) -> None:
        record = current_record.get()
        assert record is not None
        seen.append((record.request_id, scope["state"]["request_id"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def nothing(*_: Any) -> Any:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [(b"x-request-id", b"a")], "app": Starlette()}
    asyncio.run(RequestMiddleware(answer, Metrics(registry))(scope, nothing, nothing))
    assert seen == [("a", "a")]
    assert current_record.get() is None


def test_what_is_not_http_passes_untouched(registry: CollectorRegistry) -> None:
    seen: list[Any] = []

    async def answer(*arguments: Any) -> None:
        seen.append(arguments)

    async def receive() -> Any:
        raise AssertionError

    async def send(_: Any) -> None:
        raise AssertionError

    scope = {"type": "lifespan"}
    asyncio.run(RequestMiddleware(answer, Metrics(registry))(scope, receive, send))
    assert seen == [(scope, receive, send)]
