"""Memory of bulk scoring over very many images, with a stand-in network that takes next to no time.

python -m benchmarks.scoring_memory --images 100000
"""

import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks import repeated
from benchmarks.options import DEFAULT_BUNDLE, WriteTo
from benchmarks.pictures import pictures
from benchmarks.processes import resident_bytes
from benchmarks.report import DEFAULT_FOLDER, Report, table, target
from brainmri.bulk.archives.archive import ArchiveLimits
from brainmri.bulk.child import Work
from brainmri.bulk.finish import finish
from brainmri.bulk.run import SHARD_SIZE, open_run, score
from brainmri.bulk.run_folder import Method, RunFolder
from brainmri.bulk.sources import Retry
from brainmri.bulk.supervisor import Supervisor
from brainmri.imaging import DecodeLimits
from brainmri.model.bundle import load_bundle
from brainmri.model.contract import LABELS, Contract
from brainmri.model.predictor import Predictor
from brainmri.model.runtimes.protocol import Output, RuntimeInfo

_STEADY = 0.1
"""Share of the images after which everything is loaded and every pool is full."""


class StandIn:
    """A runtime that gives every image the same answer."""

    info = RuntimeInfo("openvino-f32", "f32", 1)

    def infer(self, images: NDArray[np.uint8]) -> Output:
        """Returns logits of 0."""
        return Output(np.zeros((len(images), len(LABELS)), np.float32), np.zeros((len(images), 1), np.float32))


@dataclass(frozen=True)
class OpenStandIn:
    """Opens the stand-in with a released contract."""

    contract: str

    def __call__(self) -> Predictor:
        """Returns a predictor without a detector."""
        return Predictor(Contract.from_json(self.contract), StandIn(), DecodeLimits())


@dataclass(frozen=True)
class Sample:
    """Memory when so many images were stored, both processes together, in MiB."""

    images: int
    resident_mib: float


class Sampling:
    """A `Watcher` that reads the memory as the run goes on.

    Args:
        every: Images between two readings.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self.samples: list[Sample] = []

    def begun(self, images: int, done: int, failed: int) -> None:
        """Takes the first reading."""
        self._read(done)

    def advanced(self, done: int, failed: int) -> None:
        """Takes a reading when it is time for one."""
        if done - self.samples[-1].images >= self._every:
            self._read(done)

    def _read(self, images: int) -> None:
        self.samples.append(Sample(images, resident_bytes(os.getpid()) / 2**20))


def main(
    images: Annotated[int, typer.Option(min=1000, max=10_000_000, help="How many.")] = 100_000,
    side: Annotated[int, typer.Option(min=64, max=2048, help="Side of the images, in pixels.")] = 224,
    output: WriteTo = DEFAULT_FOLDER / "scoring_memory",
) -> None:
    """Score many images, and read the memory all the way."""
    source, files = pictures(64, side)
    contract = load_bundle(DEFAULT_BUNDLE).contract
    work = Work(OpenStandIn(contract.to_json()), 8, 2, ArchiveLimits(), Retry())
    sampling, start = Sampling(max(images // 50, 1)), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="scoring-") as folder:
        request = repeated.request(Path(folder) / "run", files, images)
        with Supervisor(work, SHARD_SIZE) as supervisor:
            method = Method.of(contract, supervisor.model.runtime, "abstain", work.batch_size, DecodeLimits())
            record = open_run(request, method)
            scored = score(request, record, supervisor, sampling)
        outcome = finish([RunFolder(request.out)], record, "parquet", labelled=False)
        after = Sample(images, resident_bytes(os.getpid()) / 2**20)
    if (scored.images, outcome.summary.images) != (images, images):
        raise SystemExit(f"{scored.images} of {images} images were scored, {outcome.summary.images} joined.")
    result = _report(sampling.samples, after, images, f"{source}; {time.monotonic() - start:.0f} s in all")
    result.publish(output)


def _report(samples: list[Sample], after: Sample, images: int, source: str) -> Report:
    steady = [sample for sample in samples if sample.images >= _STEADY * images]
    growth = steady[-1].resident_mib / steady[0].resident_mib
    numbers = {"samples": [asdict(sample) for sample in samples], "after_joining": asdict(after)}
    found = Report("scoring_memory", {"images": f"{images} {source}"}, numbers)
    shown = [samples[0], *steady[:: max(1, len(steady) // 9)], steady[-1]]
    found.add(*table(["images", "MiB"], [[str(one.images), f"{one.resident_mib:.0f}"] for one in shown]))
    found.add(f"Scoring, both processes together. After joining, with the child gone: {after.resident_mib:.0f} MiB.")
    name = f"memory at the end / after {_STEADY:.0%} of the images"
    found.add(*table(["figure", "asked", "found", ""], [target(name, growth, at_most=1.05)]))
    return found


if __name__ == "__main__":
    typer.run(main)
