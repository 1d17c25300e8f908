"""Real servers: `brainmri serve` in a process of its own, with its own home and ports."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from brainmri.lifecycle.state import ServerState
from loadtests.server import free_ports
from tests.tiny import write_tiny_bundle

ROOT = Path(__file__).resolve().parents[2]
TRAINING_ONLY = ("tensorflow", "keras")
START_S = 180  # measured: 12 beside one idle-priority training run, 45 beside a busy machine
END_S = 60


def free_port() -> int:
    return free_ports(1)[0]


def environment(folder: Path, **settings: str | int) -> dict[str, str]:
    """Returns the environment of a server whose home, bundles and blocked packages lie in `folder`.

    `settings` are settings of the project, such as `workers=2`.
    """
    (folder / "home").mkdir(exist_ok=True)
    # Serving must neither need TensorFlow nor try to import it, also where it is installed.
    blocked = folder / "blocked"
    blocked.mkdir(exist_ok=True)
    for package in TRAINING_ONLY:
        trace = folder / f"{package}.tried"
        (blocked / f"{package}.py").write_text(f"open({str(trace)!r}, 'w').close()\nraise ImportError('blocked')\n")
    http_port, grpc_port = free_ports(2)
    chosen = {
        "bundles": folder / "models",
        "http_port": http_port,
        "grpc_port": grpc_port,
        "max_image_bytes": 300_000,
        "request_timeout_s": 10,
        "upload_idle_timeout_s": 5,
        "threads": 1,
        "log_format": "text",
        **settings,
    }
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(blocked), str(ROOT)]),
        "BENTOML_HOME": str(folder / "home"),
        # One that hangs is told to write down where.
        "PYTHONFAULTHANDLER": "1",
        **{f"BRAINMRI_{name.upper()}": str(value) for name, value in chosen.items()},
    }


@dataclass(frozen=True)
class Server:
    """One running server.

    Attributes:
        folder: Where its home, its bundles and its log lie.
        environ: Its environment, also for commands that concern it.
        process: The parent of its workers.
        client: Calls its HTTP interface.
    """

    folder: Path
    environ: dict[str, str]
    process: subprocess.Popen[bytes]
    client: httpx.Client

    @property
    def log(self) -> str:
        """Everything that it has written so far."""
        return (self.folder / "log").read_text()

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.environ['BRAINMRI_GRPC_PORT']}"

    @property
    def state(self) -> ServerState:
        """What it keeps in its home."""
        return ServerState(self.folder / "home", int(self.environ["BRAINMRI_HTTP_PORT"]))

    def workers(self) -> set[int]:
        """Returns the process ids of the workers that have joined and not left."""
        folder = self.state.folder / "workers" / str(self.process.pid)
        return {int(path.name) for path in folder.iterdir()}

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `brainmri` beside it."""
        return run_to_the_end(["brainmri", *arguments], self.environ)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits until something holds."""
        for _ in range(START_S * 10):
            if condition():
                return
            time.sleep(0.1)
        pytest.fail(f"It never came to this: {what}.\n{self.log}")


@contextmanager
def serving(folder: Path, **settings: str | int) -> Iterator[Server]:
    """Runs a server on the tiny bundle, from ready until an end in good order; or again on the bundle of `folder`."""
    if not (folder / "models").exists():
        write_tiny_bundle(folder / "models" / "brain_mri_xception", folder)
    # Nothing in the working directory may run.
    for name in ("service.py", "bentoml.py"):
        (folder / name).write_text("raise SystemExit('foreign code')\n")
    environ = environment(folder, **settings)
    with (folder / "log").open("wb") as output:
        command = [sys.executable, "-P", "-m", "brainmri", "serve"]
        process = subprocess.Popen(
            command, cwd=folder, env=environ, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    url = f"http://127.0.0.1:{environ['BRAINMRI_HTTP_PORT']}"
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        server = Server(folder, environ, process, client)
        try:
            wait_until_ready(server)
            yield server
        finally:
            status = end(server)
    assert status == 0, server.log
    assert "Traceback" not in server.log, server.log


def end(server: Server) -> int:
    """Asks a server to end, and returns its exit status; one that does not is killed with its workers."""
    server.process.send_signal(signal.SIGTERM)
    try:
        return server.process.wait(timeout=END_S)
    except subprocess.TimeoutExpired:
        _abort(server.process.pid)
        server.process.wait()
        pytest.fail(f"The server did not end within {END_S} s.\n{server.log}")


def _abort(pid: int) -> None:
    """Kills a server and its workers, which first write where each of their threads is."""
    parent = psutil.Process(pid)
    # The workers first, or the parent would replace them; it is stopped meanwhile.
    parent.suspend()
    workers = parent.children(recursive=True)
    for worker in workers:
        worker.send_signal(signal.SIGABRT)
    psutil.wait_procs(workers, timeout=5)
    parent.kill()


def wait_until_ready(server: Server) -> None:
    seen = set()
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            # A connection of its own: each worker may answer.
            seen.add(status := httpx.get(server.client.base_url.join("/readyz"), trust_env=False).status_code)
        except httpx.TransportError:
            status = 0
        if status == 200:
            assert seen <= {200, 503}
            return
        time.sleep(0.1)
    pytest.fail(f"The server did not become ready.\n{server.log}")


def run_to_the_end(module: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs `python -m` with these arguments until it exits by itself."""
    command = [sys.executable, "-m", *module]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=START_S, check=False)
