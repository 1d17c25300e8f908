"""Whose requests are meant for this server: the names that it goes by, and the pages that may call it.

A web page may make its visitor's browser call a server on the visitor's own machine: with a form, or after its name has
been resolved to 127.0.0.1 (DNS rebinding). The headers Host and Origin, which pages cannot choose, tell.
"""

import ipaddress
import uuid
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from brainmri.settings import Settings
from brainmri.web.schemas import error_content, plain_error_body

_ANY = "*"


class HostMiddleware:
    """Refuses requests for other hosts with 421, and those of foreign pages with 403.

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
            return not self._any
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
