"""Images a second and memory of one runtime, each in a process of its own."""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
import psutil

from brainmri.imaging import SIDE
from brainmri.model.bundle import Bundle, load_bundle
from brainmri.model.options import ModelOptions
from brainmri.model.runtimes.open import open_runtime
from brainmri.settings import RuntimeChoice
from training.release.processor import processor_name

BATCH_SIZES = (1, 8, 32)
_ROUNDS = 5
_LEAST_S = 0.5
"""A round repeats its batch for at least so long."""


@dataclass(frozen=True)
class Speed:
    """How fast a runtime is, and what it takes.

    Attributes:
        images_per_s: Batch size to images a second, the median of the rounds.
        resident_mib: Memory of the process after all of them, in MiB.
    """

    images_per_s: dict[str, float]
    resident_mib: float


def measure_speed(bundle: Bundle, choice: RuntimeChoice, threads: int) -> Speed:
    """Measures one runtime of a bundle in a fresh process.

    Raises:
        RuntimeUnavailable: The artefact or the package is missing.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(_measure, bundle.folder, choice, threads).result()


def processor(threads: int) -> str:
    """Returns what a measurement with `threads` threads ran on."""
    return f"{processor_name()}, {threads} of {os.cpu_count()} threads"


def _measure(folder: Path, choice: RuntimeChoice, threads: int) -> Speed:
    runtime = open_runtime(load_bundle(folder), ModelOptions(runtime=choice, threads=threads))
    images = np.random.default_rng(0).integers(0, 256, (max(BATCH_SIZES), SIDE, SIDE, 3), np.uint8)

    def images_per_s(size: int) -> float:
        batch, count, start = images[:size], 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < _LEAST_S or not count:
            runtime.infer(batch)
            count += size
        return count / elapsed

    speeds: dict[str, float] = {}
    for size in BATCH_SIZES:
        runtime.infer(images[:size])
        speeds[str(size)] = round(median(images_per_s(size) for _ in range(_ROUNDS)), 2)
    return Speed(speeds, round(psutil.Process().memory_info().rss / 2**20, 1))
