"""The first inferences of a process, two at once; in a process of its own, for there is only one first time."""

import subprocess
import sys
from pathlib import Path

from brainmri.model.bundle import Bundle

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 120

PROGRAM = """
import builtins
import faulthandler
import sys
import threading
import time
from pathlib import Path

import numpy as np

from brainmri.model.bundle import load_bundle
from brainmri.model.options import ModelOptions
from brainmri.model.runtimes.open import open_runtime

imported = builtins.__import__
waits = []

def slow_import(name, *arguments, **named):
    # OpenVINO imports this in the middle of filling a table, and other threads may run meanwhile.
    if name == "numpy._core.multiarray":
        waits.append(name)
        time.sleep(0.3)
    return imported(name, *arguments, **named)

faulthandler.dump_traceback_later(30, exit=True)
builtins.__import__ = slow_import
runtime = open_runtime(load_bundle(Path(sys.argv[1])), ModelOptions(threads=2, streams=2))
meeting = threading.Barrier(2)

def infer():
    meeting.wait()
    runtime.infer(np.zeros((1, 299, 299, 3), np.uint8))

threads = [threading.Thread(target=infer) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(waits))
"""


def test_two_threads_may_be_the_first_to_infer(tiny_bundle: Bundle) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tiny_bundle.folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    # Or else the table is filled elsewhere now, and this shows nothing.
    assert done.stdout == "1\n"
