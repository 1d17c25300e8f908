"""An environment for each peer, made by uv below a cache folder and kept until its requirements change."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from benchmarks.peers.systems import RUNTIMES, System

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "brainmri-peers"
_STAMP = "requirements.sha256"


def prepare(system: System, cache: Path = CACHE) -> Path:
    """Returns the interpreter of a peer's environment, which is made first where it is missing or out of date.

    Raises:
        RuntimeError: uv or the wanted Python is missing, or something cannot be installed; the message says what.
    """
    folder = cache / system.module
    python, stamp = folder / "bin" / "python", folder / _STAMP
    wanted = [*RUNTIMES, *system.requirements]
    digest = hashlib.sha256(json.dumps([system.python, wanted]).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return python
    uv = os.environ.get("UV") or shutil.which("uv")  # `uv run` sets the former
    if uv is None:
        raise RuntimeError("uv is not on PATH; it makes the environments of the peers. Install it: pip install uv.")
    _run([uv, "venv", "--quiet", "--clear", "--python", interpreter(system.python), str(folder)])
    # Byte code too, or the first start that is timed would write it.
    _run([uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *wanted])
    stamp.write_text(digest)
    return python


def interpreter(version: str) -> str:
    """Returns an interpreter of a version: pyenv's where there is one, which has libpython, or else the name for uv."""
    found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return str(found[-1]) if found else version


def library_path(python: Path) -> str:
    """Returns the folder of the interpreter's libpython, which Triton's Python backend links with."""
    code = "import sysconfig; print(sysconfig.get_config_var('LIBDIR') or '')"
    command = [str(python), "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-2000:]}")
