"""What the pinned event loop does for us: uvicorn writes the head and the body of an answer apart."""

import asyncio
import socket

import pytest
import uvloop


def test_what_is_written_in_one_turn_of_the_loop_is_sent_at_once() -> None:
    async def write_twice(ours: socket.socket, theirs: socket.socket) -> bytes:
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        transport.write(b"head ")
        transport.write(b"body")
        with pytest.raises(BlockingIOError):
            theirs.recv(100)
        await asyncio.sleep(0.01)
        transport.close()
        return theirs.recv(100)

    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            assert runner.run(write_twice(ours, theirs)) == b"head body"
