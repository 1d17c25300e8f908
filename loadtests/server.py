"""A server in a process of its own: started, waited for until it can predict, and ended with all that it started."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]

_POLL_S = 0.05
_PROBE_S = 5


class ServerFailed(RuntimeError):
    """The server did not become ready or did not end in good order; the message holds the end of its log."""


@dataclass(frozen=True)
class Launch:
    """How a server is started and ended.

    Attributes:
        command: The program and its arguments.
        environ: Its whole environment.
        folder: Its working directory.
        log: File that takes what it writes.
        port: HTTP port on the loopback address.
        ready: Path that answers 200 as soon as the server can predict.
        start_s: Longest start, in seconds.
        stop_s: Longest orderly end after SIGTERM, in seconds; then it is killed.
    """

    command: Sequence[str]
    environ: Mapping[str, str]
    folder: Path
    log: Path
    port: int
    ready: str = "/readyz"
    start_s: float = 240
    stop_s: float = 60


@dataclass(frozen=True)
class Service:
    """This project's service while it runs.

    Attributes:
        process: Its first process; workers are below it.
        http_port: On the loopback address.
        grpc_port: On the loopback address.
    """

    process: subprocess.Popen[bytes]
    http_port: int
    grpc_port: int

    @property
    def pid(self) -> int:
        """Id of the first process."""
        return self.process.pid


def free_ports(count: int) -> list[int]:
    """Returns different ports of the loopback address on which nothing listens now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def inherited() -> dict[str, str]:
    """Returns this process's environment for a server that keeps byte code, or each start would compile everything."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def answers(port: int, path: str) -> bool:
    """Tells whether a path on the loopback address answers 200 within five seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PROBE_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def serving(home: Path, log: Path, settings: Mapping[str, str]) -> Iterator[Service]:
    """Runs `brainmri serve` on free ports for the duration of a `with` block.

    Args:
        home: Its BENTOML_HOME, unless `settings` names another.
        log: File that takes what it writes.
        settings: Further variables for its environment.

    Raises:
        ServerFailed: It does not become ready, or does not end in good order.
    """
    http_port, grpc_port = free_ports(2)
    environ = {
        **inherited(),
        "PYTHONPATH": str(ROOT),
        "BENTOML_HOME": str(home),
        "BRAINMRI_HTTP_PORT": str(http_port),
        "BRAINMRI_GRPC_PORT": str(grpc_port),
        **settings,
    }
    launch = Launch([sys.executable, "-P", "-m", "brainmri", "serve"], environ, ROOT, log, http_port)
    with running(launch) as process:
        yield Service(process, http_port, grpc_port)
    if process.returncode != 0:
        raise ServerFailed(f"The server ended with {process.returncode}.\n{_end_of(log)}")


@contextmanager
def running(launch: Launch) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a server, ready, for the duration of a `with` block; SIGTERM to this process leaves the block.

    Raises:
        ServerFailed: It does not become ready.
    """
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        with launch.log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 -- the caller's own command
                launch.command, cwd=launch.folder, env=launch.environ, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            _wait_until_ready(process, launch)
            yield process
        finally:
            _stop(process, launch.stop_s)
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _wait_until_ready(process: subprocess.Popen[bytes], launch: Launch) -> None:
    end = time.monotonic() + launch.start_s
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ServerFailed(f"The server ended with {process.returncode}.\n{_end_of(launch.log)}")
        if answers(launch.port, launch.ready):
            return
        time.sleep(_POLL_S)
    raise ServerFailed(f"The server was not ready after {launch.start_s:g} s.\n{_end_of(launch.log)}")


def _stop(process: subprocess.Popen[bytes], limit_s: float) -> None:
    """Asks it to end, and kills it and what it started where that outlives the limit."""
    if process.poll() is not None:
        return
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in started:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-5000:]
