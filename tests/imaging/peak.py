"""Writes how many bytes decoding the image on stdin took at most, and the estimate; for `test_memory.py`."""

import io
import resource
import sys

from PIL import Image

from brainmri.imaging import DecodeLimits, decode
from brainmri.imaging.memory import peak_bytes

data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
with Image.open(io.BytesIO(data)) as opened:
    estimate = peak_bytes(opened)
decode(data, DecodeLimits(max_bytes=2**30))
sys.stdout.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before} {estimate}\n")
