"""Tests of CPU time and memory from /proc."""

import os
import subprocess
import sys
import time

import pytest

from benchmarks.processes import cpu_s, family, main_threads_cpu_s, resident_bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

CHILD = "x = bytearray(64 * 2**20); x[::4096] = b'x' * len(x[::4096]); print('ready', flush=True); input()"


def test_children_count() -> None:
    before = resident_bytes(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == b"ready\n"
        assert family(os.getpid())[0] == os.getpid()
        assert child.pid in family(os.getpid())
        assert resident_bytes(child.pid) >= 64 * 2**20
        assert resident_bytes(os.getpid()) - before >= 32 * 2**20
        child.stdin.write(b"\n")
    assert child.returncode == 0
    assert child.pid not in family(os.getpid())
    assert resident_bytes(child.pid) == 0


def test_cpu_time_is_that_of_the_process() -> None:
    before, main_before, own = cpu_s(os.getpid()), main_threads_cpu_s(os.getpid()), time.process_time()
    while time.process_time() - own < 0.3:
        pass
    # The kernel counts in hundredths of a second.
    assert cpu_s(os.getpid()) - before >= 0.25
    assert main_threads_cpu_s(os.getpid()) - main_before >= 0.2


def test_a_process_that_has_ended_costs_nothing() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert cpu_s(child.pid) == 0
