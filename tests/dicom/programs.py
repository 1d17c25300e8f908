"""Programs of other projects that the results are tried with; what is not installed is skipped with its package."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.tiny import write_tiny_bundle

PACKAGE_OF = {
    "dciodvfy": "dicom3tools",
    "dsrdump": "dcmtk",
    "echoscu": "dcmtk",
    "storescp": "dcmtk",
    "storescu": "dcmtk",
    "Orthanc": "orthanc",
}
_ROOT = Path(__file__).parents[2]
_TIMEOUT_S, _START_S = 60, 120


def path_of(name: str) -> str:
    """Returns where a program is; skips the test without it."""
    # pynetdicom installs programs named as DCMTK's into this environment; Debian puts Orthanc beyond a user's PATH.
    own = Path(sys.executable).parent
    folders = [folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder) != own]
    found = shutil.which(name, path=os.pathsep.join([*folders, "/usr/sbin"]))
    if found is None:
        pytest.skip(f"{name} is not installed; Debian's package {PACKAGE_OF[name]} has it")
    return found


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end."""
    command = [path_of(name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)


@contextmanager
def running(
    command: Sequence[object], log: Path, *, ready: Callable[[], bool], environ: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program until the end of the block.

    Args:
        command: Its words.
        log: Gets what it writes.
        ready: Tells when it can be used.
        environ: Its environment.
    """
    words = [str(word) for word in command]
    with log.open("ab") as output, subprocess.Popen(words, stdout=output, stderr=output, env=environ) as process:
        try:
            end = time.monotonic() + _START_S
            while not ready():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.1)
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise


def listens(port: int) -> bool:
    """Tells whether something accepts connections at a port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def free_port() -> int:
    """Returns a port of this machine at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def brainmri_listening(folder: Path, port: int, *options: object) -> Iterator[subprocess.Popen[bytes]]:
    """Runs `brainmri dicom listen` in a process of its own, with a tiny model that has heat maps, in `folder`."""
    log = folder / "listen.log"
    log.touch()
    begun = log.read_text().count("Listening as")
    command = [
        sys.executable, "-m", "brainmri", "dicom", "listen", "--port", port, "--spool", folder / "spool", *options
    ]  # fmt: skip
    with running(
        command,
        log,
        ready=lambda: log.read_text().count("Listening as") > begun,
        environ=environment(folder),
    ) as process:
        yield process


def environment(folder: Path) -> dict[str, str]:
    """Returns the environment of commands that use a tiny model with heat maps, made in `folder` if it is not there."""
    bundle = folder / "models" / "brain_mri_xception"
    if not bundle.exists():
        write_tiny_bundle(bundle, folder / "scratch", explains=True)
        (folder / "home").mkdir()
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"]),
        "PYTHONPATH": str(_ROOT),
        "BENTOML_HOME": str(folder / "home"),
        "BRAINMRI_BUNDLES": str(folder / "models"),
        "BRAINMRI_THREADS": "1",
        "BRAINMRI_LOG_FORMAT": "text",
    }
