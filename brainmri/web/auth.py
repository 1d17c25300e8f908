"""Who may call: the file of hashed API keys, and the check of HTTP and gRPC against it."""

import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from brainmri import durable
from brainmri.errors import InvalidSettings, Unauthenticated
from brainmri.web.middleware import is_probe
from brainmri.web.schemas import error_body, error_content

ALGORITHM = "sha256"
MAX_FILE_BYTES = 64 * 2**10
"""About 400 keys; reading that many takes a millisecond, and the server reads on its event loop."""

MAX_KEY_CHARACTERS = 256
"""Longest key that is compared: one that a caller makes up must not cost much hashing. Ours have 52."""

_PREFIX = "brainmri_"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEX = re.compile(r"[0-9a-f]{32,128}")
_HEADER = "# API keys of brainmri: name algorithm salt hash. Written by `brainmri keys`.\n"

RECHECK_S = 1.0
"""A change of the file counts after at most this long."""

_DESCRIPTION = re.compile(r"/(docs|docs\.json|static_content/.*|page/.*)?")
"""The page, the documentation and their files need no key, like the probes: they say that one is needed."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HashedKey:
    """One line of the file, `name algorithm salt hash`, with nothing in it that opens a door.

    A key is 256 random bits, so no dictionary holds it and one SHA-256 is enough. A slow hash (scrypt) guards passwords
    that people choose; here it would only let a caller burn 50 ms of CPU with every wrong key.

    Attributes:
        name: Who holds the key: 1 to 64 letters, digits, dots, dashes or underscores.
        salt: Random bytes that are hashed before the key.
        digest: SHA-256 of salt and key.
    """

    name: str
    salt: bytes
    digest: bytes

    def matches(self, presented: str) -> bool:
        """Tells whether `presented` is this key, in a time that does not depend on how much of it is right."""
        return hmac.compare_digest(_digest(self.salt, presented), self.digest)


def new_key(name: str) -> tuple[str, HashedKey]:
    """Makes a key; returns it, which is kept nowhere else, and its line for the file.

    Raises:
        InvalidSettings: A bad name.
    """
    if not _NAME.fullmatch(name):
        raise InvalidSettings(f"{name[:80]!r} is not a name for a key. Use 1 to 64 letters, digits, dots, dashes or _.")
    key, salt = _PREFIX + secrets.token_urlsafe(32), secrets.token_bytes(16)
    return key, HashedKey(name, salt, _digest(salt, key))


def read_keys(file: Path) -> tuple[HashedKey, ...]:
    """Reads the file.

    Raises:
        InvalidSettings: It is missing, unreadable, too large, or a line of it is not of this form.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidSettings(
            f"The file of API keys {file} cannot be read: {error.strerror}. Make it with `brainmri keys add NAME`."
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise InvalidSettings(f"{file} has more than {MAX_FILE_BYTES} bytes; that is not a file of API keys.")
    try:
        lines = data.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidSettings(f"{file} is not ASCII text; that is not a file of API keys.") from error
    keys = tuple(_parse(file, number, line) for number, line in enumerate(lines, 1) if line and line[0] != "#")
    if len({key.name for key in keys}) < len(keys):
        raise InvalidSettings(f"{file} holds two keys of one name. Remove one of the lines.")
    return keys


@contextmanager
def edit_keys(file: Path) -> Iterator[dict[str, HashedKey]]:
    """Yields the keys by name; what is in the dict at the end replaces the file, whole or not at all, with mode 600.

    Raises:
        InvalidSettings: The file is broken, or cannot be written.
    """
    try:
        folder = os.open(file.parent, os.O_RDONLY)
    except OSError as error:
        raise InvalidSettings(f"The folder of {file} cannot be opened: {error.strerror}.") from error
    try:
        # On the folder, because the file itself is replaced.
        fcntl.flock(folder, fcntl.LOCK_EX)
        keys = {key.name: key for key in read_keys(file)} if file.exists() else {}
        yield keys
        _replace(file, keys.values())
    finally:
        os.close(folder)


def _replace(file: Path, keys: Iterable[HashedKey]) -> None:
    lines = [f"{key.name} {ALGORITHM} {key.salt.hex()} {key.digest.hex()}\n" for key in keys]
    text = _HEADER + "".join(lines)
    if len(text) > MAX_FILE_BYTES:
        raise InvalidSettings(f"{file} would have more than {MAX_FILE_BYTES} bytes. Remove keys that nobody uses.")
    try:
        durable.write(file, lambda stream: stream.write(text.encode("ascii")), mode=0o600)
    except OSError as error:
        raise InvalidSettings(f"{file} cannot be written: {error.strerror}.") from error


def _parse(file: Path, number: int, line: str) -> HashedKey:
    match line.split():
        case [name, algorithm, salt, digest] if (
            algorithm == ALGORITHM and _NAME.fullmatch(name) and _HEX.fullmatch(salt) and _HEX.fullmatch(digest)
        ):
            try:
                return HashedKey(name, bytes.fromhex(salt), bytes.fromhex(digest))
            except ValueError:  # An odd number of digits.
                pass
    # Never the line itself: somebody may have written a key there.
    raise InvalidSettings(f"Line {number} of {file} is not `name {ALGORITHM} salt hash`. Use `brainmri keys`.")


def _digest(salt: bytes, key: str) -> bytes:
    return hashlib.sha256(salt + key.encode("utf-8", "surrogatepass")).digest()


class KeyRing:
    """The keys that are accepted, as the file says now.

    Args:
        file: See `brainmri.web.auth`. It is read by `load`, and again whenever it has changed.
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
