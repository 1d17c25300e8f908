"""Disks so small that they fill up."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mounts a disk at a folder that it makes; skips the test where none may be mounted.

    Args:
        folder: Where.
        size: As `mount` takes it, such as `1m`.
    """
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],  # noqa: S607 -- where systems keep it
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount a disk")
    try:
        yield folder
    finally:
        # The processes of the test may still hold files of it.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607
