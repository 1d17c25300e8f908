"""Installs requirements with hashes, such as `uv export` writes, into a virtual environment of their own."""

import subprocess
import venv
from pathlib import Path

INSTALLER = Path("/build/installer")


def install(requirements: Path, environment: Path) -> None:
    """Makes `environment`. It has no pip; nothing is built, and nothing that is installed runs."""
    if not INSTALLER.exists():
        venv.create(INSTALLER, symlinks=True, with_pip=True)
    venv.create(environment, symlinks=True)
    pip = [str(INSTALLER / "bin" / "pip"), "--python", str(environment / "bin" / "python"), "install", "--quiet"]
    locked = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--requirement", str(requirements)]
    subprocess.run([*pip, "--no-compile", *locked], check=True)
