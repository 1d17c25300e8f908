"""Who may call: API keys for HTTP and gRPC."""

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from brainmri.errors import InvalidSettings, Unauthenticated
from brainmri.web.keys import MAX_KEY_CHARACTERS, HashedKey, read_keys
from brainmri.web.middleware import is_probe
from brainmri.web.schemas import error_body, error_content

RECHECK_S = 1.0
"""A change of the file counts after at most this long."""

_DESCRIPTION = re.compile(r"/(docs|docs\.json|static_content/.*|page/.*)?")
"""The page, the documentation and their files need no key, like the probes: they say that one is needed."""

_logger = logging.getLogger(__name__)


class KeyRing:
    """The keys that are accepted, as the file says now.

    Args:
        file: See `brainmri.web.keys`. It is read by `load`, and again whenever it has changed.
        clock: Seconds, for tests.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._keys: tuple[HashedKey, ...] = ()
        self._seen: tuple[int, ...] | None = None
        self._due = clock()

    def load(self) -> None:
        """Reads the file for the first time.

        Raises:
            InvalidSettings: It is missing or broken. Later such a file is logged, and the keys stay as they were.
        """
        seen = self._signature()
        self._keys = read_keys(self._file)
        self._seen, self._due = seen, self._clock() + RECHECK_S

    def check(self, presented: str | None) -> str:
        """Returns the name of a key.

        Args:
            presented: What the caller sent, if anything; see `presented_key`.

        Raises:
            Unauthenticated: There is no such key.
        """
        self._refresh()
        if not presented:
            raise Unauthenticated(
                "This service needs an API key. Send `Authorization: Bearer KEY` or `X-API-Key: KEY`."
            )
        # All of them, so that the time tells nothing about where the key stands.
        known = self._keys if len(presented) <= MAX_KEY_CHARACTERS else ()
        names = [key.name for key in known if key.matches(presented)]
        if not names:
            raise Unauthenticated("The API key is not known. Ask whoever runs this service for one.")
        return names[0]

    def _refresh(self) -> None:
        if (now := self._clock()) < self._due:
            return
        self._due = now + RECHECK_S
        seen = self._signature()
        if seen == self._seen:
            return
        # Set even when reading fails, so that one broken file is logged once.
        self._seen = seen
        try:
            self._keys = read_keys(self._file)
        except InvalidSettings as error:
            _logger.error("The API keys stay as they were. %s", error.message)
        else:
            _logger.info("%d API keys were read from %s", len(self._keys), self._file)

    def _signature(self) -> tuple[int, ...]:
        try:
            stat = self._file.stat()
        except OSError as error:
            return (error.errno or -1,)
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_dev)


def presented_key(authorization: str | None, x_api_key: str | None) -> str | None:
    """Returns the key out of the two headers (gRPC: metadata) that may carry one; the bearer token comes first."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return x_api_key


class KeyMiddleware:
    """Answers 401 unless the request carries a known key; puts the key's name into the state as `key_name`.

    Args:
        app: What answers callers who have one.
        keys: What is accepted.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] == "lifespan" or _needs_no_key(scope):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            name = self._keys.check(presented_key(headers.get("authorization"), headers.get("x-api-key")))
        except Unauthenticated as error:
            scope["state"] = {**scope.get("state", {}), "error": error}
            await _refusal(scope, error)(scope, receive, send)
            return
        scope["state"] = {**scope.get("state", {}), "key_name": name}
        if (record := scope["state"].get("record")) is not None:
            record.key_name = name
        await self._app(scope, receive, send)


def _needs_no_key(scope: Scope) -> bool:
    return is_probe(scope["path"]) or _DESCRIPTION.fullmatch(scope["path"]) is not None


def _refusal(scope: Scope, error: Unauthenticated) -> Response:
    content = error_content(scope["path"], error_body(error, scope.get("state", {}).get("request_id", "")))
    return JSONResponse(content, 401, {"WWW-Authenticate": 'Bearer realm="brainmri"'})
