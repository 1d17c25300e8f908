"""The real service, started as a user starts it: `brainmri serve` in a process of its own, with a home of its own."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from benchmarks import processes

ROOT = Path(__file__).resolve().parents[1]

_START_S = 240
_STOP_S = 60


@dataclass(frozen=True)
class Server:
    """A running service.

    Attributes:
        pid: Its first process; workers are below it.
        http_port: On the loopback address.
        grpc_port: On the loopback address.
    """

    pid: int
    http_port: int
    grpc_port: int

    def get(self, path: str) -> str:
        """Returns the text at a path of the HTTP interface."""
        url = f"http://127.0.0.1:{self.http_port}{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def ready(self) -> bool:
        """Whether it accepts predictions."""
        try:
            self.get("/readyz")
        except (URLError, OSError):
            return False
        return True

    def cpu_s(self) -> float:
        """Returns the CPU time that it has taken so far, in seconds."""
        return processes.cpu_s(self.pid)

    def loop_cpu_s(self) -> float:
        """Returns the CPU time that its event loop has taken so far, in seconds."""
        return processes.main_threads_cpu_s(self.pid)

    def resident_mib(self) -> float:
        """Returns its resident memory, all processes together, in MiB."""
        return processes.resident_bytes(self.pid) / 2**20


def inherited() -> dict[str, str]:
    """Returns this process's environment for a server that keeps byte code, or each start would compile everything."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@contextmanager
def serve(bundles: Path, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """The service with the released bundle for the duration of a `with` block.

    Args:
        bundles: Folder of released bundles.
        settings: Further variables for its environment.

    Raises:
        RuntimeError: It does not become ready, or does not end cleanly; the message holds its log.
    """
    with tempfile.TemporaryDirectory(prefix="brainmri-benchmark-") as folder:
        http_port, grpc_port = free_ports(2)
        environment = {
            **inherited(),
            "BENTOML_HOME": folder,
            "BRAINMRI_BUNDLES": str(bundles.resolve()),
            "BRAINMRI_HTTP_PORT": str(http_port),
            "BRAINMRI_GRPC_PORT": str(grpc_port),
            **(settings or {}),
        }
        log = Path(folder) / "log"
        before = signal.signal(signal.SIGTERM, _end)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "brainmri", "serve"],
                cwd=ROOT,
                env={**environment, "PYTHONPATH": str(ROOT)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        server = Server(process.pid, http_port, grpc_port)
        try:
            _wait_until_ready(server, process, log)
            yield server
        finally:
            _stop(process, log)
            signal.signal(signal.SIGTERM, before)


def _end(number: int, _: object) -> None:
    # Leaves the `with` block, so that no server stays behind.
    raise SystemExit(128 + number)


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"The server ended with {process.returncode}.\n{log.read_text()}")
        if server.ready():
            return
        time.sleep(0.1)
    raise RuntimeError(f"The server was not ready after {_START_S} s.\n{log.read_text()}")


def _stop(process: subprocess.Popen[bytes], log: Path) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        status = process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise RuntimeError(f"The server did not end within {_STOP_S} s.\n{log.read_text()[-5000:]}") from None
    if status != 0:
        raise RuntimeError(f"The server ended with {status}.\n{log.read_text()[-5000:]}")


def free_ports(count: int) -> list[int]:
    """Returns ports of the loopback address on which nothing listens now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports
