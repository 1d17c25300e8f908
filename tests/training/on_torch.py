"""Runs code with Keras on torch, in a process of its own: a back end cannot be changed once Keras is imported."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not in the lock; install it by hand")


def assert_prints_on_torch(code: str, line: str, timeout_s: float) -> None:
    """Asserts that `code` prints `line` and nothing else, within so many seconds."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.stdout.strip() == line, done.stderr[-2000:]
