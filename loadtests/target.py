"""Where load may go: this machine, or any other with --allow-remote."""

import ipaddress
from urllib.parse import urlsplit


class ForbiddenTarget(ValueError):
    """The target is another machine, or no address; the message says what to do."""


def require_allowed(address: str, *, allow_remote: bool) -> None:
    """Refuses targets off this machine. Names other than `localhost` are not looked up: they count as remote.

    Args:
        address: A URL such as `http://127.0.0.1:3000`, or host and port such as `127.0.0.1:3001`.
        allow_remote: Whether every target is fine.

    Raises:
        ForbiddenTarget: It is not a loopback address.
    """
    host = host_of(address)
    if not allow_remote and not is_loopback(host):
        raise ForbiddenTarget(
            f"{address} is not on this machine. A load test may harm whatever answers there: if it is yours, and you"
            " may, say --allow-remote."
        )


def host_of(address: str) -> str:
    """Returns the host of a URL, or of `host:port`.

    Raises:
        ForbiddenTarget: There is none.
    """
    try:
        host = urlsplit(address if "://" in address else f"//{address}").hostname
    except ValueError:
        host = None
    if not host:
        raise ForbiddenTarget(f"{address!r} names no host. Give a URL such as http://127.0.0.1:3000.")
    return host


def is_loopback(host: str) -> bool:
    """Tells whether it is 127.0.0.0/8, ::1 or localhost."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
