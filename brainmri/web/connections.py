"""All HTTP connections of one process, and the steps in which they end."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from brainmri.errors import NotReady, Overloaded
from brainmri.settings import Settings
from brainmri.web.failures import failure
from brainmri.web.middleware import is_probe

FIRST_REQUEST_S = 5.0
"""How long a connection made at the very end is given to send its request, in seconds; clients may be slow as well."""

_QUIET_S = 0.1
"""Time after which the event loop has taken what the kernel's queue of connections held, in seconds."""
_POLL_S = 0.02
_REFUSED_AT_A_TIME = 100
"""Connections beyond the limit that are told so; more are dropped without an answer."""


class OpenConnection(Protocol):
    """One of them."""

    @property
    def client(self) -> tuple[str, int] | None:
        """Address and port of the other side, if it has any."""

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""

    def silent_s(self) -> float:
        """Returns its age in seconds if no request has come yet, and infinity otherwise."""

    def close_if_idle(self) -> None:
        """Closes it unless it is busy."""


class Connections:
    """The open connections.

    Args:
        settings: How many there may be, and how long they may take for their headers.

    Attributes:
        ending: Whether every answer is the last one of its connection.
        refusing: Whether requests that begin now are refused.
        header_timeout_s: See `Settings`.
        count_refusal: Is called with the reason for each connection that is refused or cut off.
    """

    def __init__(self, settings: Settings) -> None:
        self.ending = False
        self.refusing = False
        self.header_timeout_s = settings.header_timeout_s
        self.count_refusal: Callable[[str], None] = _not_counted
        self._most = settings.max_connections
        self._most_per_client = settings.max_connections_per_client
        self._open: set[OpenConnection] = set()
        self._per_client: Counter[str] = Counter()
        self._opened = 0

    @property
    def crowded(self) -> bool:
        """Whether there are so many that not even a refusal can be afforded."""
        return len(self._open) > self._most + _REFUSED_AT_A_TIME

    def add(self, connection: OpenConnection) -> None:
        """Takes note of a new connection.

        Raises:
            Overloaded: There are too many, in all or of this client; the connection counts until it has ended.
        """
        self._open.add(connection)
        self._opened += 1
        client = _address(connection)
        self._per_client[client] += 1
        if len(self._open) > self._most:
            self.count_refusal("too_many")
            raise _too_many(f"{self._most} connections", "the most that are kept")
        if client and self._per_client[client] > self._most_per_client:
            self.count_refusal("too_many_of_client")
            raise _too_many(f"{self._most_per_client} connections of this client", "the most that it may have")

    def discard(self, connection: OpenConnection) -> None:
        """Forgets a connection that has ended."""
        if connection not in self._open:
            return
        self._open.remove(connection)
        client = _address(connection)
        self._per_client[client] -= 1
        if not self._per_client[client]:
            del self._per_client[client]

    async def finish(self, idle_s: float) -> None:
        """Refuses what begins from now on, closes idle connections, and returns when all that had begun is answered.

        Args:
            idle_s: How long idle connections stay open, so that most clients learn of the end from an answer.
        """
        self.refusing = True
        begun = {connection for connection in self._open if connection.busy}
        await asyncio.sleep(idle_s)
        self.close_idle()
        while any(connection.busy for connection in begun & self._open):
            await asyncio.sleep(_POLL_S)

    async def settle(self) -> None:
        """Returns when everybody whom the kernel had let in has an answer, or has sent nothing for too long."""
        seen = -1
        while seen != self._opened or any(map(_waits, self._open)):
            seen = self._opened
            await asyncio.sleep(_QUIET_S)

    def close_idle(self) -> None:
        """Closes the connections on which nothing is under way; those just made may still send their request."""
        for connection in [connection for connection in self._open if not _waits(connection)]:
            connection.close_if_idle()


def _not_counted(_: str) -> None:
    pass


def _address(connection: OpenConnection) -> str:
    return connection.client[0] if connection.client else ""


def _too_many(limit: str, what: str) -> Overloaded:
    message = f"{limit} are open, {what}. Close some, or use them again for further requests."
    return Overloaded(message, retry_after_s=1.0, limit=limit)


def _waits(connection: OpenConnection) -> bool:
    return connection.busy or connection.silent_s() < FIRST_REQUEST_S


class EndingMiddleware:
    """Answers 503 with Retry-After once requests are refused; probes are answered to the end.

    Args:
        app: What answers before.
        connections: Says when.
    """

    def __init__(self, app: ASGIApp, connections: Connections) -> None:
        self._app = app
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != "http" or not self._connections.refusing or is_probe(scope["path"]):
            await self._app(scope, receive, send)
            return
        error = NotReady("This server is about to end. Send the request again; another one answers.")
        await failure(Request(scope), error)(scope, receive, send)
