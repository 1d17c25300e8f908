"""Buildah and podman, set up for a machine without systemd, and containers that run as a cluster would run them."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.e2e.servers import ROOT, free_port

PROGRAMS = ("buildah", "mmdebstrap", "podman", "runc")
BUILD_S = 900  # measured: 360, with the base, on a machine with five times more work than CPUs
START_S = 240
CONFIGURATION = """
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
"""


def why_not() -> str | None:
    """Returns what keeps this machine from building containers, if anything does."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"no {', '.join(missing)} on this machine; .ci/run installs them where Debian's packages can be had"
    return "only root can make a base image" if os.geteuid() != 0 else None


@dataclass(frozen=True)
class Engine:
    """Runs the programs, with a configuration of its own."""

    environ: dict[str, str]

    def run(self, *command: str, timeout_s: float = 120, **environ: str) -> str:
        """Returns what a command printed, without the last line's end; fails the test with its errors if it fails."""
        done = self.attempt(*command, timeout_s=timeout_s, **environ)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout.rstrip("\n")

    def attempt(self, *command: str, timeout_s: float = 120, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=ROOT,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


def configured(folder: Path) -> Engine:
    """Returns an engine; its configuration lies in `folder`, images and containers where they always do."""
    configuration = folder / "containers.conf"
    configuration.write_text(CONFIGURATION)
    return Engine({**os.environ, "CONTAINERS_CONF": str(configuration), "BUILDAH_ISOLATION": "chroot"})


@dataclass(frozen=True)
class Container:
    """A running container of the image, and a client of it."""

    engine: Engine
    name: str
    client: httpx.Client
    grpc_address: str

    @property
    def log(self) -> str:
        """Everything that it has written so far."""
        return self.engine.attempt("podman", "logs", self.name).stderr

    def python(self, program: str) -> str:
        """Returns what a Python program prints in the container."""
        return self.engine.run("podman", "exec", self.name, "/opt/venv/bin/python", "-c", program)

    def inspected(self, what: str) -> str:
        return self.engine.run("podman", "inspect", "--format", what, self.name)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        for _ in range(START_S * 10):
            if condition():
                return
            if self.inspected("{{.State.Running}}") == "false":
                break
            time.sleep(0.1)
        pytest.fail(f"It never came to this: {what}.\n{self.log}")

    def ready(self) -> bool:
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def running(engine: Engine, image: str, **settings: str | int) -> Iterator[Container]:
    """Runs the image until it is ready: read-only, without capabilities, with one CPU and one GiB."""
    ports = {"http_port": free_port(), "grpc_port": free_port()}
    # The network is the machine's, and nobody else may reach the ports.
    chosen = {"http_host": "127.0.0.1", "grpc_host": "127.0.0.1", **ports, **settings}
    environ = [f"--env=BRAINMRI_{name.upper()}={value}" for name, value in chosen.items()]
    limits = ["--memory=1g", "--memory-swap=1g", "--cpus=1", "--pids-limit=200"]
    locked = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    writable = ["--tmpfs=/tmp:size=128m", "--tmpfs=/var/lib/brainmri:size=256m"]
    started = ["podman", "run", "--detach", "--network=host", *locked, *writable, *limits, *environ, image]
    name = engine.run(*started).splitlines()[-1]
    url = f"http://127.0.0.1:{ports['http_port']}"
    try:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            container = Container(engine, name, client, f"127.0.0.1:{ports['grpc_port']}")
            container.until(container.ready, "it is ready")
            yield container
    finally:
        engine.run("podman", "rm", "--force", "--time", "30", name)
