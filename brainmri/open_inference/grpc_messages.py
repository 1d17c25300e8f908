"""Receives the messages of gRPC calls, each in its turn, so that what arrives has a bound over all connections.

gRPC hands out no part of a message, and holds what has come until the rest is there. Asked for a message, it lets the
client send all of it; before, only `LOOKAHEAD_BYTES`. So a call asks when it has a turn.
"""

import asyncio
from typing import Any

import grpc

from brainmri.batching.call import Deadline
from brainmri.batching.turns import Turns

LOOKAHEAD_BYTES = 320 * 2**10
"""What a client may send of a message that is not asked for yet: one image as a tensor comes without another round."""


async def receive(context: Any, turns: Turns, deadline: Deadline, client: str | None = None) -> bytes | None:
    """Returns the next message of a call as it was sent; None when the client has sent its last.

    Args:
        context: gRPC's view of the call.
        turns: Where the call waits for its turn.
        deadline: When the message must have come.
        client: Whose call it is; its address if None.

    Raises:
        Overloaded: Too many messages of this client are on their way, or others waited for this one.
        DeadlineExceeded: It did not come in time.
    """
    try:
        async with asyncio.timeout_at(deadline.at), turns.one(address_of(context) if client is None else client):
            data = await context.read()
    except TimeoutError as error:
        raise deadline.exceeded() from error
    return None if data is grpc.aio.EOF else bytes(data)


def address_of(context: Any) -> str:
    """Returns a caller's address without its port."""
    return str(context.peer()).rpartition(":")[0]
