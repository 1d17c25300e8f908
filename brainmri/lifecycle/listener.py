"""The HTTP server's listening socket at the end of a server: nobody is let in whom nobody will answer.

The kernel completes handshakes by itself, for as long as any process holds the socket, and resets what is left when
the last one lets go: the parent process, after its workers. So the last worker first has the kernel ignore who wants
to connect, then answers everybody who is connected already. Those who are ignored try again by themselves, after a
second on Linux, and find the port closed.
"""

import asyncio
import contextlib
import ctypes
import ipaddress
import logging
import os
import resource
import socket
import struct
import sys
from collections.abc import Callable, Iterator

import uvicorn

from brainmri.errors import InvalidSettings
from brainmri.web.connections import Connections

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

IDLE_CLOSE_S = 1.0
"""How long idle connections stay open once new requests are refused, in seconds."""

_OTHER_FILES = 512
"""For the runtime, the jobs, spooled uploads and gRPC."""


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


def require_free(host: str, port: int, variable: str) -> None:
    """Listens for a moment.

    Args:
        host: Address or name.
        port: TCP port.
        variable: The environment variable that chooses the port.

    Raises:
        InvalidSettings: Another process listens there, or the address is not of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: connections that an earlier server has closed do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise InvalidSettings(
            f"{host}:{port} cannot be listened on: {error.strerror}. Set {variable} to a free port of this machine."
        ) from error


def page_url(host: str, port: int) -> str:
    """Returns what to open in a browser on this machine for a server that listens at `host` and `port`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    return f"http://{address}:{port}" if address.version == 4 else f"http://[{address}]:{port}"


def allow_open_files(connections: int) -> None:
    """Raises this process's limit as far as it may, if so many connections would not fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
