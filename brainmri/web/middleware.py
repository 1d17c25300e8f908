"""The middleware around every request: its id, its count, its line in the log, and what a client sees of a fault."""

import ipaddress
import logging
import re
import uuid
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brainmri.observe.metrics import Metrics
from brainmri.observe.request_record import Protocol, RequestRecord
from brainmri.settings import Settings
from brainmri.web.schemas import error_content, plain_error_body

REQUEST_ID = "X-Request-Id"
UNMATCHED = "unmatched"
CLIENT_LEFT = 499
"""What proxies log for a caller that did not wait for its answer; not in any RFC."""

MAX_HEADER_BYTES = 64 * 2**10
"""Most bytes of all headers together; browsers and proxies send a few thousand."""

MAX_HEADERS = 100
"""Most headers of a request; browsers and proxies send some twenty."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEALTH = re.compile(r"/(livez|readyz|healthz|v2/health/(live|ready))")
_PROBE = re.compile(r"/(livez|readyz|healthz|metrics|v2/health/(live|ready)|v2/models/[^/]+(/versions/[^/]+)?/ready)")
_logger = logging.getLogger(__name__)

_ANY = "*"

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The value of `Content-Security-Policy`: everything comes from this server, and no script or style is inline."""

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": CONTENT_POLICY,
    "Referrer-Policy": "no-referrer",
}


class RequestMiddleware:
    """Gives each request an id and a record; counts and logs its answer.

    Whatever answers with an error leaves it in the state as `error`. Bodies pass through piece by piece. Probes are
    neither counted nor logged; unknown paths are not counted. A path with a control character is refused: routes take
    `/a%0A` for `/a`, and what guards a path by its name would not.

    Args:
        app: What answers.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = sane_request_id(headers.get(REQUEST_ID, ""))
        # A new dict: the outer application's state is shared by all requests.
        scope["state"] = {**scope.get("state", {}), "request_id": request_id}
        protocol: Protocol = "open_inference_rest" if scope["path"].startswith("/v2") else "http"
        trace = headers.get("traceparent", ""), headers.get("tracestate", "")
        with RequestRecord.opened(protocol, request_id, *trace, method=scope["method"]) as record:
            scope["state"]["record"] = record
            status = CLIENT_LEFT  # When the task is cancelled before its answer begins, nobody waits for it.

            async def counted_receive() -> Message:
                message = await receive()
                record.received_bytes += len(message.get("body", b""))
                return message

            async def counted_send(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                    MutableHeaders(scope=message)[REQUEST_ID] = request_id
                record.sent_bytes += len(message.get("body", b""))
                await send(message)

            try:
                await (_refusal(scope) or self._app)(scope, counted_receive, counted_send)
            except Exception:
                status = HTTPStatus.INTERNAL_SERVER_ERROR
                raise
            finally:
                self._close(record, scope, int(status))

    def _close(self, record: RequestRecord, scope: Scope, status: int) -> None:
        if is_probe(scope["path"]):
            return
        record.route = _template(scope)
        if (error := scope["state"].get("error")) is not None:
            record.error = error
            self._metrics.count_error(error)
        if record.route != UNMATCHED:
            self._metrics.count_request(record.route, record.protocol, status, record.elapsed_s, record.trace_id)
        record.close(status, failed=status >= HTTPStatus.INTERNAL_SERVER_ERROR)


class FaultMiddleware:
    """Turns unexpected exceptions into a 500 that says nothing about them; the log says everything.

    Args:
        app: What may raise.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        begun = False

        async def noted_send(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted_send)
        except Exception:
            if scope["type"] != "http" or begun:
                # Only closing the connection can tell the client now; the server logs it.
                raise
            _logger.exception("Unexpected error")
            await _internal_error(scope)(scope, receive, send)


def is_probe(path: str) -> bool:
    """Tells whether a path only asks how the service is: health, readiness, metrics."""
    return _PROBE.fullmatch(path) is not None


def sane_request_id(given: str) -> str:
    """Returns `given` if it is 1 to 64 letters, digits, dots, dashes or underscores, and a new id otherwise."""
    return given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex


def _refusal(scope: Scope) -> JSONResponse | None:
    """Returns the answer to a request that nothing behind this may see."""
    if _CONTROL.search(scope["path"]):
        return _plain_error(scope, 404, "not_found", "No path here has a control character. Check the URL.")
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
        message = f"The headers have more than {MAX_HEADER_BYTES} bytes. Send shorter ones."
        return _plain_error(scope, 431, "request_headers_too_large", message)
    if len(scope["headers"]) > MAX_HEADERS:
        message = f"The request has more than {MAX_HEADERS} headers. Send fewer."
        return _plain_error(scope, 431, "request_headers_too_large", message)
    return None


def _internal_error(scope: Scope) -> JSONResponse:
    message = "The server failed unexpectedly. Try again; if it stays, report the request id."
    return _plain_error(scope, 500, "internal", message)


def _plain_error(scope: Scope, status: int, code: str, message: str) -> JSONResponse:
    body = plain_error_body(code, message, scope["state"]["request_id"])
    return JSONResponse(error_content(scope["path"], body), status)


def _template(scope: Scope) -> str:
    # There is no route yet where a caller without a key was refused.
    route = scope.get("route") or _route(scope, scope["app"].routes)
    if route is None or getattr(route, "name", None) == UNMATCHED:
        return UNMATCHED
    return str(getattr(route, "path", UNMATCHED))


def _route(scope: Scope, routes: Sequence[BaseRoute]) -> BaseRoute | None:
    for route in routes:
        match, inside = route.matches(scope)
        if match is Match.FULL:
            inner = route.app.routes if isinstance(route, Mount) and isinstance(route.app, Starlette) else None
            return route if inner is None else _route({**scope, **inside}, inner)
    return None


class HostMiddleware:
    """Refuses requests for other hosts with 421, and those of foreign pages with 403.

    A web page may make its visitor's browser call a server on the visitor's own machine: with a form, or after its name
    has been resolved to 127.0.0.1 (DNS rebinding). The headers Host and Origin, which pages cannot choose, tell.

    Args:
        app: What answers the others.
        settings: The address listened on, the names that are allowed, and whose pages may call.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in settings.allowed_hosts)
        self._loopback_only = not self._names and is_loopback(settings.http_host)
        self._any = _ANY in self._names
        self._origins = frozenset(settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != "http" or not self._checks(scope) or (answer := self._refusal(scope)) is None:
            await self._app(scope, receive, send)
        else:
            await answer(scope, receive, send)

    def _checks(self, scope: Scope) -> bool:
        if self._names:
            # A kubelet asks by the address of the pod, which no setting can name beforehand.
            return not self._any and _HEALTH.fullmatch(scope["path"]) is None
        # BentoML's command line may have chosen another address than the settings.
        address = (scope.get("server") or ("", None))[0]
        return self._loopback_only and is_loopback(address)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._known(host):
            message = (
                f"This server does not go by the name {host[:80]!r}. Use the address that it listens on, or name the"
                " host in BRAINMRI_ALLOWED_HOSTS."
            )
            return _error(scope, HTTPStatus.MISDIRECTED_REQUEST, "misdirected_request", message)
        origin = headers.get("origin")
        if origin is None or origin in self._origins or _ANY in self._origins or urlsplit(origin).netloc == host:
            return None
        message = (
            f"Pages of {origin[:80]!r} may not call this server. Name that origin in BRAINMRI_CORS_ORIGINS, or, behind"
            " a proxy, pass the header Host on as it came."
        )
        return _error(scope, HTTPStatus.FORBIDDEN, "foreign_origin", message)

    def _known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return is_loopback(name) if self._loopback_only else name in self._names


def is_loopback(name: str) -> bool:
    """Tells whether a host name or an address means this machine and no other can call it."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _error(scope: Scope, status: HTTPStatus, code: str, message: str) -> JSONResponse:
    request_id = scope.get("state", {}).get("request_id") or uuid.uuid4().hex
    return JSONResponse(error_content(scope["path"], plain_error_body(code, message, request_id)), status)


class SecurityHeadersMiddleware:
    """Adds the headers that an answer lacks.

    Files, which carry an ETag, may be kept and are asked about again; what else does not say how long it may be kept is
    not to be stored, because it tells of a patient.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""

        async def completed_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-cache" if "etag" in headers else "no-store")
            await send(message)

        await self._app(scope, receive, completed_send)
