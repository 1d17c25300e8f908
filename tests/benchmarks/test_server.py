"""Tests of starting and ending the real service, with the tiny bundle."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.processes import family
from benchmarks.server import serve
from loadtests.server import ROOT
from tests.tiny import write_tiny_bundle

SCRIPT = """
import json, sys
from pathlib import Path
from benchmarks.server import serve

with serve(Path(sys.argv[1])) as server:
    readings = [server.pid, server.ready(), server.cpu_s(), server.loop_cpu_s(), server.resident_mib()]
    print(json.dumps([*readings, server.get("/metrics")]), flush=True)
    input()
"""


def test_the_service_runs_for_the_block_and_ends_with_a_benchmark_that_is_ended(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "models" / "brain_mri_xception", tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "models")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with process:
        assert process.stdout is not None
        pid, ready, cpu_s, loop_cpu_s, resident_mib, metrics = json.loads(process.stdout.readline())
        members = family(pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 128 + signal.SIGTERM
    assert len(members) >= 2
    assert not any(Path(f"/proc/{member}").exists() for member in members)
    assert ready
    assert cpu_s > loop_cpu_s > 0
    assert resident_mib > 50
    assert "brainmri_model_info{" in metrics


def test_a_service_that_cannot_start_is_told_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"The server ended with 2\.(.|\n)*has no model"), serve(tmp_path):
        pass
