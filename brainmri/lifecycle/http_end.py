"""The end of the HTTP interface: no request without an answer, no connection without a warning."""

import asyncio
import contextlib
from collections.abc import Callable

from brainmri.lifecycle.listener import Listener
from brainmri.web.connections import Connections

IDLE_CLOSE_S = 1.0
"""How long idle connections stay open once new requests are refused, in seconds."""


async def end_http(
    connections: Connections, listener: Listener | None, leave: Callable[[], bool], limit_s: float
) -> None:
    """Answers what was accepted, and refuses the rest, until the server can close.

    New requests get 503 with Retry-After, on old connections and on new ones, for as long as there is something to
    wait for.

    Args:
        connections: All of this process.
        listener: What accepts new ones; None where no server runs.
        leave: Called when all is answered; tells whether this worker is the last of its server.
        limit_s: Longest time for all of it, in seconds.
    """
    end = asyncio.get_running_loop().time() + limit_s
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(end):
            await connections.finish(min(IDLE_CLOSE_S, limit_s / 2))
    last = leave()
    if listener is None:
        return
    if last:
        listener.ignore_new()
    else:
        # The sibling workers go on answering.
        listener.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(end):
            await connections.settle()
