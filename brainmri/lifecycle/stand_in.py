"""What answers while no worker runs: the parent process itself, with 503 and Retry-After.

The parent holds the listening socket too. Without it, connections would wait in the kernel's queue, and their clients
for as long as it takes to start a worker.
"""

import asyncio
import contextlib
import os
import socket
import threading
import uuid
from collections.abc import Sequence
from functools import partial

import uvicorn
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from brainmri.errors import NotReady
from brainmri.settings import Settings
from brainmri.web.connection import Connection
from brainmri.web.connections import Connections
from brainmri.web.failures import failure
from brainmri.web.security_headers import SecurityHeadersMiddleware

_CLOSING_S = 10.0
"""Longest time for connections that were made just before a worker stood again, in seconds."""


class StandIn:
    """Refuses every HTTP request on the server's sockets, in a thread of its own, until it is stopped.

    Args:
        sockets: Those that listen; they stay open.
        settings: Limits on connections.
    """

    def __init__(self, sockets: Sequence[socket.socket], settings: Settings) -> None:
        # Closing these leaves the originals alone.
        self._sockets = [socket.socket(fileno=os.dup(one.fileno())) for one in sockets]
        self._connections = Connections(settings)
        # Each answer is the last one of its connection: the next worker takes the client's next one.
        self._connections.ending = True
        self._loop = asyncio.new_event_loop()
        self._enough = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="stand-in", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Accepts no more connections; those that there are get their answers."""
        with contextlib.suppress(RuntimeError):  # It has failed, and its loop is closed.
            self._loop.call_soon_threadsafe(self._enough.set)

    def join(self, within_s: float) -> bool:
        """Waits until all is answered; returns whether it is."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._refuse_until_enough())
        finally:
            self._loop.close()

    async def _refuse_until_enough(self) -> None:
        app = SecurityHeadersMiddleware(_refuse)
        protocol = partial(Connection, self._connections)
        server = uvicorn.Server(
            uvicorn.Config(app, http=protocol, lifespan="off", log_config=None, log_level="error", access_log=False)  # type: ignore[arg-type]
        )
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup(self._sockets)
        await self._enough.wait()
        for listening in server.servers:
            listening.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_S):
                await self._connections.settle()
        await server.shutdown(self._sockets)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope)
    request.state.request_id = uuid.uuid4().hex
    error = NotReady("The server's worker process has ended and is being replaced. Try again in a few seconds.")
    await failure(request, error)(scope, receive, send)
