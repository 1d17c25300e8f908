"""Writes how many bytes decoding a DICOM object took at most, and the estimate; for `test_memory.py`.

On stdin is a pickle of a small object, which makes the process load what it needs, and of the one to measure.
"""

import gc
import pickle
import re
import sys
from pathlib import Path

from brainmri.imaging import DecodeLimits, ReadOptions, read_picture
from brainmri.imaging.dicom import decoding_peak, dicom_header
from brainmri.imaging.dicom_header import inflated_peak, read_header

LIMITS, OPTIONS = DecodeLimits(max_bytes=2**30), ReadOptions(0)


def resident(name: str) -> int:
    """Returns a figure of this process's memory in bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


small, data = pickle.load(sys.stdin.buffer)  # noqa: S301 -- written by the test
read_picture(small, LIMITS, OPTIONS)
estimate = decoding_peak(dicom_header(read_header(data, LIMITS), LIMITS), len(data)) + inflated_peak(data, LIMITS)
gc.collect()
# The highest mark is now.
Path("/proc/self/clear_refs").write_text("5")
before = resident("VmRSS")
read_picture(data, LIMITS, OPTIONS)
sys.stdout.write(f"{resident('VmHWM') - before} {estimate}\n")
