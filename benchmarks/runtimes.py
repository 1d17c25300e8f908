"""Every runtime of a bundle side by side, in interleaved rounds: images a second, latency of one image, memory.

python -m training export-runtimes models/brain_mri_xception
python -m benchmarks.runtimes --bundle runs/exports/brain_mri_xception
"""

import os
import random
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks import processes
from benchmarks.options import DEFAULT_BUNDLE, WriteTo
from benchmarks.report import DEFAULT_FOLDER, Report, table
from benchmarks.summary import Spread, ratios
from brainmri.errors import RuntimeUnavailable
from brainmri.imaging import SIDE
from brainmri.model.bundle import load_bundle
from brainmri.model.options import ModelOptions
from brainmri.model.runtimes.open import open_runtime
from brainmri.model.runtimes.protocol import Runtime
from brainmri.model.variants import VARIANTS, choose, require_package
from brainmri.settings import RuntimeChoice, available_cpus

BATCH_SIZES = (1, 8, 32)

_opened: "list[Runtime]" = []
"""The one of this process."""


@dataclass(frozen=True)
class Seen:
    """One round of one runtime.

    Attributes:
        images_per_s: Batch size to images a second.
        latency_ms: Median of one image alone, in milliseconds.
        resident_mib: Memory of its process afterwards.
    """

    images_per_s: dict[int, float]
    latency_ms: float
    resident_mib: float


def main(
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Rounds; each measures every runtime once.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, max=60, help="Length of one measurement.")] = 1,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of a runtime; 0 takes all.")] = 0,
    only: Annotated[list[str] | None, typer.Option(help="Such as onnx-int8; give it again for more.")] = None,
    bundle: Annotated[Path, typer.Option(help="The bundle, or one with more.")] = DEFAULT_BUNDLE,
    output: WriteTo = DEFAULT_FOLDER / "runtimes",
) -> None:
    """Measure every runtime that the bundle carries and that is installed."""
    count = threads or available_cpus()
    choices = _available(bundle, only)
    seen: dict[str, list[Seen]] = {choice: [] for choice in choices}
    with ExitStack() as stack:
        # Each in a process of its own, opened once: they neither share threads nor count each other's memory.
        pools = {
            choice: stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"), _open, (bundle, choice, count)))
            for choice in choices
        }
        for number in range(rounds):
            for choice in random.Random(number).sample(choices, len(choices)):  # noqa: S311 -- no secret
                seen[choice].append(pools[choice].submit(_measure, seconds).result())
            typer.echo(f"round {number + 1} of {rounds}", err=True)
    result = _report(seen, bundle, count, rounds, seconds)
    _plot(seen, output.with_suffix(".png"))
    typer.echo(result.markdown())
    typer.echo(f"Written: {' '.join(map(str, result.write(output)))} {output.with_suffix('.png')}", err=True)


def _available(bundle: Path, only: Sequence[str] | None) -> list[RuntimeChoice]:
    loaded, found = load_bundle(bundle), []
    for variant in VARIANTS:
        try:
            require_package(choose(loaded, variant.choice))
        except RuntimeUnavailable as error:
            typer.echo(f"{variant.choice}: {error.message}", err=True)
            continue
        if not only or variant.choice in only:
            found.append(variant.choice)
    return found


def _open(bundle: Path, choice: RuntimeChoice, threads: int) -> None:
    runtime = open_runtime(load_bundle(bundle), ModelOptions(runtime=choice, threads=threads))
    for size in BATCH_SIZES:
        runtime.infer(_images(size))
    _opened.append(runtime)


def _measure(seconds: float) -> Seen:
    images_per_s, alone = {}, 0.0
    for size in BATCH_SIZES:
        batch = _images(size)
        times: list[float] = []
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end or not times:
            _opened[0].infer(batch)
            times.append(time.perf_counter() - start)
        images_per_s[size] = size * len(times) / sum(times)
        if size == 1:
            alone = float(np.median(times)) * 1e3
    return Seen(images_per_s, alone, processes.resident_bytes(os.getpid()) / 2**20)


def _images(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def _report(seen: dict[str, list[Seen]], bundle: Path, threads: int, rounds: int, seconds: float) -> Report:
    loaded = load_bundle(bundle)
    setting = {
        "bundle": f"{loaded.contract.tag}, network at {loaded.contract.network_side} pixels",
        "threads": str(threads),
        "rounds": f"{rounds} of {seconds:g} s for each batch size",
    }
    numbers = {choice: [asdict(one) for one in values] for choice, values in seen.items()}
    report = Report("runtimes", setting, {"runtimes": numbers})
    header = [
        "runtime",
        *(f"images/s, batch {size}" for size in BATCH_SIZES),
        "one image, ms",
        "MiB",
        "ratio at batch 8",
    ]
    report.add(*table(header, [_row(choice, seen) for choice in seen]))
    report.add("Medians of the rounds, their range in brackets. Ratio: to TensorFlow in the same round, at batch 8.")
    return report


def _row(choice: str, seen: dict[str, list[Seen]]) -> list[str]:
    own, reference = seen[choice], seen.get("tensorflow")
    speeds = [Spread.of([one.images_per_s[size] for one in own]).text(1) for size in BATCH_SIZES]
    ratio = ""
    if reference:
        pairs = ratios([one.images_per_s[8] for one in own], [one.images_per_s[8] for one in reference])
        ratio = Spread.of(pairs).text(2)
    return [
        choice,
        *speeds,
        Spread.of([one.latency_ms for one in own]).text(1),
        Spread.of([one.resident_mib for one in own]).text(0),
        ratio,
    ]


def _plot(seen: dict[str, list[Seen]], path: Path) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415 -- only this command draws

    figure = Figure(figsize=(8, 0.5 * len(seen) + 1.5), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(BATCH_SIZES)
    names = list(reversed(seen))
    for number, size in enumerate(BATCH_SIZES):
        spreads = [Spread.of([one.images_per_s[size] for one in seen[name]]) for name in names]
        ends = [[s.median - s.low for s in spreads], [s.high - s.median for s in spreads]]
        places = [i + number * height for i in range(len(names))]
        axes.barh(places, [s.median for s in spreads], height, xerr=ends, label=f"batch {size}", capsize=2)
    axes.set_yticks([i + height for i in range(len(names))], names)
    axes.set_xlabel("images/s")
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    typer.run(main)
