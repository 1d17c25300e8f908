"""Measures this machine for two minutes and says which settings suit it: `brainmri bench`.

What is measured is the network and the decoding in process, without HTTP: docs/benchmarks.md has the whole service.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from brainmri.errors import RuntimeUnavailable
from brainmri.imaging import SIDE
from brainmri.model.bundle import Bundle, load_bundle
from brainmri.model.contract import NOTICE
from brainmri.model.options import ModelOptions
from brainmri.model.runtimes.open import open_runtime
from brainmri.model.runtimes.protocol import Runtime
from brainmri.model.variants import VARIANTS, Variant, choose, require_package
from brainmri.settings import RuntimeChoice, available_cpus

bench = typer.Typer(add_completion=False)

BATCH_SIZES = (1, 4, 8, 16)
_ENOUGH = 0.97
"""What reaches this share of the most images a second, and answers sooner, is preferred."""


@dataclass(frozen=True)
class Setting:
    """What to set, in the words of the environment.

    Attributes:
        runtime: `BRAINMRI_RUNTIME`.
        threads: `BRAINMRI_THREADS`.
        streams: `BRAINMRI_STREAMS`.
        max_batch_size: `BRAINMRI_MAX_BATCH_SIZE`.
    """

    runtime: RuntimeChoice
    threads: int
    streams: int
    max_batch_size: int

    def variables(self) -> dict[str, str]:
        """Returns the environment."""
        return {
            "BRAINMRI_RUNTIME": self.runtime,
            "BRAINMRI_THREADS": str(self.threads),
            "BRAINMRI_STREAMS": str(self.streams),
            "BRAINMRI_MAX_BATCH_SIZE": str(self.max_batch_size),
        }


@dataclass(frozen=True)
class Measured:
    """How fast a setting is.

    Attributes:
        setting: Which.
        images_per_s: Images a second with every stream busy.
        batch_ms: How long a full batch takes with every stream busy, in milliseconds: what a caller waits at least.
        alone_ms: Median latency of one image that is alone, in milliseconds.
    """

    setting: Setting
    images_per_s: float
    batch_ms: float
    alone_ms: float


@bench.command("bench")
def main(
    bundle: Annotated[Path, typer.Option(help="Folder of a bundle.")] = Path("models/brain_mri_xception"),
    seconds: Annotated[float, typer.Option(min=1, help="How long to measure, about.")] = 120,
) -> None:
    """Measure this machine and print recommended settings. Research use only, never a diagnosis."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    loaded, console = load_bundle(bundle), Console()
    settings = list(candidates(loaded, available_cpus()))
    found = []
    for setting in settings:
        found.append(measure(loaded, setting, seconds / len(settings)))
        console.print(f"{describe(setting)}: {found[-1].images_per_s:.1f} images/s", highlight=False)
    console.print(_table(found))
    best = recommend(found)
    console.print("Recommended, for many callers:")
    for name, value in best.setting.variables().items():
        console.print(f"  export {name}={value}", highlight=False)
    console.print(
        f"{best.images_per_s:.1f} images/s in process; one image alone takes {best.alone_ms:.1f} ms. For single"
        " callers, the shortest time alone counts. bfloat16 answers slightly differently: compare before using it.",
        highlight=False,
    )
    console.print(NOTICE)


def candidates(bundle: Bundle, cpus: int) -> Iterator[Setting]:
    """Yields the settings to compare: every installed runtime, streams from one to one for each CPU, batches.

    Args:
        bundle: What is to be served.
        cpus: How many CPUs this process may use.
    """
    for variant in _runnable(bundle):
        streams = sorted({1, *((cpus // 2, cpus) if variant.family == "openvino" else ())} - {0})
        sizes = (1,) if variant.family == "litert" else BATCH_SIZES
        for count in streams:
            for size in sizes:
                yield Setting(variant.choice, cpus, count, size)


def measure(bundle: Bundle, setting: Setting, seconds: float) -> Measured:
    """Measures one setting; a third of the time for one image alone, the rest with every stream busy."""
    options = ModelOptions(
        runtime=setting.runtime, threads=setting.threads, streams=setting.streams, full_batch=setting.max_batch_size
    )
    runtime = open_runtime(bundle, options)
    images = np.random.default_rng(0).integers(0, 256, (setting.max_batch_size, SIDE, SIDE, 3), np.uint8)
    runtime.infer(images[:1])
    alone = _times(lambda: runtime.infer(images[:1]), seconds / 3)
    rate, batch_s = _busy(runtime, images, setting.streams, seconds * 2 / 3)
    return Measured(setting, rate, batch_s * 1e3, float(np.median(alone)) * 1e3)


def recommend(found: Sequence[Measured]) -> Measured:
    """Returns the setting that answers soonest among those that reach nearly the most images a second."""
    most = max(one.images_per_s for one in found)
    return min((one for one in found if one.images_per_s >= _ENOUGH * most), key=lambda one: one.batch_ms)


def describe(setting: Setting) -> str:
    """Returns a setting in a few words."""
    return f"{setting.runtime}, {setting.streams} streams, batches of {setting.max_batch_size}"


def _runnable(bundle: Bundle) -> Iterator[Variant]:
    for variant in VARIANTS:
        try:
            require_package(choose(bundle, variant.choice))
        except RuntimeUnavailable:
            continue
        yield variant


def _busy(runtime: Runtime, images: np.ndarray, streams: int, seconds: float) -> tuple[float, float]:
    with ThreadPoolExecutor(streams) as pool:
        # Every stream's memory is made by its first batch.
        list(pool.map(runtime.infer, [images] * streams))
        start = time.perf_counter()
        times = list(pool.map(lambda _: _times(lambda: runtime.infer(images), seconds), range(streams)))
        elapsed = time.perf_counter() - start
    together = [one for stream in times for one in stream]
    return len(together) * len(images) / elapsed, float(np.median(together))


def _times(work: Callable[[], object], seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end or not times:
        work()
        times.append(time.perf_counter() - start)
    return times


def _table(found: Sequence[Measured]) -> Table:
    table = Table("runtime", "streams", "batch", "images/s", "batch ms", "alone ms")
    for one in sorted(found, key=lambda one: -one.images_per_s):
        row = (one.setting.streams, one.setting.max_batch_size)
        figures = (f"{one.images_per_s:.1f}", f"{one.batch_ms:.1f}", f"{one.alone_ms:.1f}")
        table.add_row(one.setting.runtime, *map(str, row), *figures)
    return table
