"""No request is lost when a server ends under load, be it on a kept connection or on one that is just being made."""

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENTS = 64
WAIT_S = 30


def outcome(connection: HTTPConnection) -> str:
    """Makes one request; a kept connection that was closed meanwhile is opened again, as every client library does."""
    for _ in range(2):
        kept = connection.sock is not None
        try:
            if not kept:
                connection.connect()
        except ConnectionRefusedError:
            return "refused"
        try:
            connection.request("POST", "/", b"x" * 1000)
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.BadStatusLine) as error:
            connection.close()
            if kept and isinstance(error, ConnectionError | http.client.BadStatusLine):
                continue
            return repr(error)
        return str(response.status)
    return "closed again and again"


def end_under_load(clients: int) -> Counter[str]:
    """Starts a server, lets clients call it until it is gone, and counts what became of their requests."""
    counts: Counter[str] = Counter()
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
        descriptor = listening.fileno()
        command = [sys.executable, "-m", "tests.lifecycle.ending_server", str(descriptor)]
        server = subprocess.Popen(command, cwd=ROOT, pass_fds=(descriptor,))
        port = listening.getsockname()[1]

        def call(number: int) -> None:
            with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=WAIT_S)) as connection:
                while (result := outcome(connection)) != "refused":
                    counts[result] += 1
                    # Some are quick, some leave their connection alone for longer than it is kept.
                    time.sleep(0.02 * (number % 8) ** 2)

        threads = [threading.Thread(target=call, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        while counts["200"] < 2 * clients:
            time.sleep(0.05)
        server.send_signal(signal.SIGTERM)
        assert server.wait(WAIT_S) == 0
    # Only now the parent lets go of the socket.
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    return counts


@pytest.mark.parametrize("repetition", range(3))
def test_every_request_is_answered_or_finds_the_port_closed(repetition: int) -> None:
    counts = end_under_load(CLIENTS)
    assert set(counts) == {"200", "503"}, (repetition, counts)
