"""Runs of Locust in a process of its own: importing it patches the whole process for gevent."""

import subprocess
import sys
from pathlib import Path

from loadtests.record import Record, read_record

ROOT = Path(__file__).resolve().parents[2]
MOST_S = 200


def locust(host: str, record: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Runs the locustfile with no window, against `host`, until it ends by itself."""
    command = ["locust", "-f", "loadtests/locustfile.py", "--headless", "--only-summary", "--host", host]
    return run_module(*command, "--record", str(record), "--image-side", "128", *flags)


def recorded(host: str, folder: Path, *flags: str) -> Record:
    """Runs the locustfile, which must end in good order, and returns its record."""
    done = locust(host, folder / "record.json", *flags)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return read_record(folder / "record.json")


def run_module(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m` from the root of the repository."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=MOST_S,
        check=False,
        env=environment or None,
    )
