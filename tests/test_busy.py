import subprocess
import sys
from pathlib import Path

from tests.e2e.servers import ROOT


def passes(folder: Path, body: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_one.py").write_text(f"def test_one(): {body}\n")
    command = [sys.executable, "-m", "tests.busy", "--passes", "2", "--busy", "1", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)


def test_every_pass_runs_beside_busy_processes_and_counts(tmp_path: Path) -> None:
    done = passes(tmp_path, "pass")
    assert (done.returncode, done.stdout.count("1 passed"), done.stdout.count("busy processes: 0")) == (0, 2, 2)


def test_passes_that_fail_are_the_exit_status(tmp_path: Path) -> None:
    done = passes(tmp_path, "assert False")
    assert (done.returncode, done.stdout.count("1 failed")) == (2, 2)
