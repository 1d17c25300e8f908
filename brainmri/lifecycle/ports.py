"""Addresses of the server: whether they can be listened on, and what a browser opens."""

import ipaddress
import socket

from brainmri.errors import InvalidSettings


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
