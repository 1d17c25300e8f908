"""The HTTP server's listening socket at the end of a server: nobody is let in whom nobody will answer.

The kernel completes handshakes by itself, for as long as any process holds the socket, and resets what is left when
the last one lets go: the parent process, after its workers. So the last worker first has the kernel ignore who wants
to connect, then answers everybody who is connected already. Those who are ignored try again by themselves, after a
second on Linux, and find the port closed.
"""

import ctypes
import logging
import os
import socket
import struct
import sys
from collections.abc import Iterator

import uvicorn

_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
# Classic BPF over the TCP header: (operation, jump if true, jump if false, operand).
_WITHOUT_NEW_CONNECTIONS = (
    (0x30, 0, 0, 13),  # Load the byte of flags.
    (0x45, 0, 1, 0x10),  # Go on if ACK is set, skip one if not: only a first SYN lacks it.
    (0x06, 0, 0, 0xFFFFFFFF),  # Accept the packet.
    (0x06, 0, 0, 0),  # Drop it.
)

_logger = logging.getLogger(__name__)


class Listener:
    """What a uvicorn server listens on, which its sibling workers and their parent share.

    Args:
        server: The server of this process.
    """

    def __init__(self, server: uvicorn.Server) -> None:
        self._server = server

    @property
    def listening(self) -> bool:
        """Whether the server has begun to listen."""
        return self._server.started

    def ignore_new(self) -> None:
        """Has the kernel drop the first packet of every new connection, for all who share the socket."""
        if sys.platform != "linux":
            return
        code = b"".join(struct.pack("HBBI", *step) for step in _WITHOUT_NEW_CONNECTIONS)
        buffer = ctypes.create_string_buffer(code, len(code))
        program = struct.pack("HP", len(_WITHOUT_NEW_CONNECTIONS), ctypes.addressof(buffer))
        self._set(_SO_ATTACH_FILTER, program)

    def accept_again(self) -> None:
        """Undoes `ignore_new` of a worker that was the last one, and was replaced."""
        if sys.platform == "linux":
            self._set(_SO_DETACH_FILTER, 0)

    def close(self) -> None:
        """Accepts no more connections in this process; its siblings go on."""
        for server in self._server.servers:
            server.close()

    def _set(self, option: int, value: int | bytes) -> None:
        for one in self._sockets():
            try:
                one.setsockopt(socket.SOL_SOCKET, option, value)
            except FileNotFoundError:
                # There was no filter to detach.
                continue
            except OSError as error:
                # Some sandboxes know no filters: a connection that is made in the last instant may be reset.
                _logger.warning("The listening socket takes no packet filter: %s", error)

    def _sockets(self) -> Iterator[socket.socket]:
        for server in self._server.servers:
            for listening in server.sockets:
                # The event loop's own objects do not pass options on.
                with socket.socket(fileno=os.dup(listening.fileno())) as one:
                    yield one
