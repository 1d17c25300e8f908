"""All HTTP connections of one process, and the steps in which they end."""

import asyncio
from typing import Protocol

FIRST_REQUEST_S = 5.0
"""How long a connection made at the very end is given to send its request, in seconds; clients may be slow as well."""

_QUIET_S = 0.1
"""Time after which the event loop has taken what the kernel's queue of connections held, in seconds."""
_POLL_S = 0.02


class OpenConnection(Protocol):
    """One of them."""

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""

    def silent_s(self) -> float:
        """Returns its age in seconds if no request has come yet, and infinity otherwise."""

    def close_if_idle(self) -> None:
        """Closes it unless it is busy."""


class Connections:
    """The open connections.

    Attributes:
        ending: Whether every answer is the last one of its connection.
        refusing: Whether requests that begin now are refused.
    """

    def __init__(self) -> None:
        self.ending = False
        self.refusing = False
        self._open: set[OpenConnection] = set()
        self._opened = 0

    def add(self, connection: OpenConnection) -> None:
        """Takes note of a new connection."""
        self._open.add(connection)
        self._opened += 1

    def discard(self, connection: OpenConnection) -> None:
        """Forgets a connection that has ended."""
        self._open.discard(connection)

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


def _waits(connection: OpenConnection) -> bool:
    return connection.busy or connection.silent_s() < FIRST_REQUEST_S
