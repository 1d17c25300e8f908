"""Starts one system, waits until it can predict, and stops it with everything below it."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes
from benchmarks.peers.environments import library_path, prepare
from benchmarks.peers.systems import System
from loadtests.server import ROOT, Launch, free_ports, inherited, running

_FOLDER = Path(__file__).parent
_START_S = 150
_STOP_S = 15


@dataclass(frozen=True)
class Running:
    """A system that can predict.

    Attributes:
        pid: Its first process.
        http_port: On the loopback address.
        grpc_port: On the loopback address.
        ready_s: Seconds from the start of the process until it said that it is ready.
    """

    pid: int
    http_port: int
    grpc_port: int
    ready_s: float

    def resident_mib(self) -> float:
        """Returns its resident memory, all processes together, in MiB."""
        return processes.resident_bytes(self.pid) / 2**20


@contextmanager
def running_system(system: System, runtime: str, bundle: Path, threads: int) -> Iterator[Running]:
    """A system for the duration of a `with` block.

    Args:
        system: Which one; without a module it is this project's service.
        runtime: `openvino` or `tensorflow`.
        bundle: Folder of the released bundle.
        threads: CPU threads of the network.

    Raises:
        RuntimeError: It does not become ready; the message holds the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="brainmri-peer-") as name:
        home = Path(name)
        http_port, grpc_port = free_ports(2)
        environment = {
            **inherited(),
            "BENTOML_HOME": str(home / "bentoml"),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "",
            "RAY_TMPDIR": str(home),
        }
        command = _ours(environment, bundle, http_port, grpc_port) if not system.module else _peer(system, environment)
        environment |= {
            "PEER_BUNDLE": str(bundle.resolve()),
            "PEER_RUNTIME": runtime,
            "PEER_THREADS": str(threads),
            "PEER_PORT": str(http_port),
            "PEER_GRPC_PORT": str(grpc_port),
        }
        launch = Launch(command, environment, home, home / "log", http_port, system.ready, _START_S, _STOP_S)
        begun = time.monotonic()
        with running(launch) as process:
            yield Running(process.pid, http_port, grpc_port, time.monotonic() - begun)


def fill_store(bundle: Path, home: Path) -> None:
    """Puts the bundle into a BentoML store, so that the start that is timed finds it there."""
    code = (
        "from pathlib import Path; from brainmri.model import store;"
        f" store.ensure('brain_mri_xception:latest', Path({str(bundle.resolve().parent)!r}))"
    )
    environment = {**os.environ, "BENTOML_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, env=environment, capture_output=True)  # noqa: S603


def _ours(environment: dict[str, str], bundle: Path, http_port: int, grpc_port: int) -> list[str]:
    fill_store(bundle, Path(environment["BENTOML_HOME"]))
    environment |= {
        "BRAINMRI_BUNDLES": str(bundle.resolve().parent),
        "BRAINMRI_HTTP_PORT": str(http_port),
        "BRAINMRI_GRPC_PORT": str(grpc_port),
        # Peers have no detector and name a class for everything.
        "BRAINMRI_NOVELTY_POLICY": "pass",
        "PYTHONPATH": str(ROOT),
    }
    return [sys.executable, "-P", "-m", "brainmri", "serve"]


def _peer(system: System, environment: dict[str, str]) -> list[str]:
    python = prepare(system)
    environment["PYTHONPATH"] = str(_FOLDER)
    environment["LD_LIBRARY_PATH"] = _joined(environment, library_path(python))
    # Tools that a system starts by name are those of its own environment.
    environment["PATH"] = f"{python.parent}:{environment['PATH']}"
    return [str(python), str(_FOLDER / f"{system.module}.py")]


def _joined(environment: Mapping[str, str], folder: str) -> str:
    return ":".join(part for part in (folder, environment.get("LD_LIBRARY_PATH", "")) if part)
