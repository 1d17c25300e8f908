"""The server's memory while a load runs."""

import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass

from benchmarks.server import Server
from benchmarks.traffic import Load


@dataclass(frozen=True)
class Sample:
    """One reading of the server.

    Attributes:
        at_s: Seconds from the start of the load.
        resident_mib: Of the server, all processes together, in MiB.
    """

    at_s: float
    resident_mib: float


def watch(server: Server, load: Future[Load], every_s: float, limit_s: float) -> tuple[Load, list[Sample]]:
    """Waits for a load, and reads the server's memory at the start, in between and at the end.

    Args:
        server: The service under load.
        load: What is awaited.
        every_s: Seconds between two readings.
        limit_s: How long to wait at most.

    Raises:
        TimeoutError: The load did not end.
    """
    start = time.monotonic()
    samples: list[Sample] = []
    while True:
        elapsed = time.monotonic() - start
        samples.append(Sample(elapsed, server.resident_mib()))
        if load.done():
            return load.result(), samples
        if elapsed > limit_s:
            raise TimeoutError(f"The load did not end within {limit_s:g} s.")
        wait([load], every_s)


def at(samples: Sequence[Sample], seconds: float) -> float:
    """Returns the memory at the first reading that is not before `seconds`, or at the last one."""
    return next((one for one in samples if one.at_s >= seconds), samples[-1]).resident_mib
