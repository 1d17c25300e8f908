"""Images a second of bulk scoring against the same runtime in process, decoding included, in the same rounds.

python -m benchmarks.scoring --rounds 5 --seconds 8
"""

import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import repeated
from benchmarks.options import DEFAULT_BUNDLE, Count, Side, WriteTo
from benchmarks.pictures import pictures
from benchmarks.processes import cpu_s
from benchmarks.reference import Reference, ReferenceProcess, reference_process
from benchmarks.report import DEFAULT_FOLDER, Report, table, target
from benchmarks.rounds import UPLOADS, Rounds
from benchmarks.summary import Spread
from brainmri.bulk.archives.archive import ArchiveLimits
from brainmri.bulk.child import Work
from brainmri.bulk.model import OpenBundle
from brainmri.bulk.run import SHARD_SIZE, open_run, score
from brainmri.bulk.run_folder import Method
from brainmri.bulk.sources import Retry
from brainmri.bulk.supervisor import Supervisor
from brainmri.model.bundle import load_bundle
from brainmri.settings import load_settings

SCORE = "brainmri score"

_EXPLANATION = """\
Medians of the rounds, their range in brackets; the ratio is taken within each round. In process: the network, and
decoding of files that are in memory already. Scoring besides reads the files, hashes them, turns logits and features
into answers, and stores each part durably. Loading the model is in neither."""


class Unwatched:
    """Watcher of a run that shows no progress."""

    def begun(self, images: int, done: int, failed: int) -> None:
        """Does nothing."""

    def advanced(self, done: int, failed: int) -> None:
        """Does nothing."""


class Scoring:
    """Bulk scoring with its model loaded; begins a run of its own for each measurement.

    Args:
        folder: For images and runs.
        images: Encoded images.
        supervisor: Loaded.
        method: How it scores.
    """

    def __init__(self, folder: Path, images: Sequence[bytes], supervisor: Supervisor, method: Method) -> None:
        self._folder, self._images, self._supervisor, self._method = folder, images, supervisor, method
        self._runs = 0

    def measure(self, count: int, rounds: Rounds) -> None:
        """Scores so many images, the same files again and again, from the frozen manifest to the last part."""
        self._runs += 1
        request = repeated.request(self._folder / str(self._runs), self._images, count)
        record = open_run(request, self._method)
        start, cpu = time.perf_counter(), cpu_s(self._supervisor.pid)
        scored = score(request, record, self._supervisor, Unwatched())
        seconds = time.perf_counter() - start
        if (scored.images, scored.failed) != (count, 0):
            raise SystemExit(f"{scored.images} of {count} images were scored, {scored.failed} failed.")
        rounds.add(SCORE, images_per_s=count / seconds, cpu_ms=(cpu_s(self._supervisor.pid) - cpu) * 1e3 / count)


@contextmanager
def scoring(bundle: Path, images: Sequence[bytes]) -> Iterator[Scoring]:
    """Bulk scoring of a bundle, with the settings that `brainmri score` would have here."""
    settings, opened = load_settings(), load_bundle(bundle)
    opener = OpenBundle.of(opened, settings, settings.max_batch_size)
    work = Work(opener, settings.max_batch_size, settings.decode_threads(), ArchiveLimits(), Retry())
    with tempfile.TemporaryDirectory(prefix="scoring-") as folder, Supervisor(work, SHARD_SIZE) as supervisor:
        runtime = supervisor.model.runtime
        method = Method.of(opened.contract, runtime, settings.novelty_policy, work.batch_size, opener.options.limits)
        yield Scoring(Path(folder), images, supervisor, method)


def main(
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Rounds; each measures everything once.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, max=60, help="Length of the reference's measurement.")] = 8,
    side: Side = 224,
    count: Count = 64,
    scored: Annotated[int, typer.Option(min=100, max=100_000, help="Images of one measurement.")] = 768,
    bundle: Annotated[Path, typer.Option(help="The bundle.")] = DEFAULT_BUNDLE,
    output: WriteTo = DEFAULT_FOLDER / "scoring",
) -> None:
    """Measure bulk scoring against the same runtime in process."""
    source, images = pictures(count, side)
    measured = Rounds()
    with reference_process(bundle) as reference, scoring(bundle, images) as bulk:
        steps = {
            UPLOADS: lambda: _reference(images, seconds, reference, measured),
            SCORE: lambda: bulk.measure(scored, measured),
        }
        for number in range(rounds):
            # Another order each round, so that no measurement always follows the same one.
            for name in random.Random(number).sample(list(steps), len(steps)):  # noqa: S311 -- no secret
                steps[name]()
            typer.echo(f"round {number + 1} of {rounds}", err=True)
    setting = {"bundle": bundle.name, "images": f"{scored} of {count} {source}", "rounds": f"{rounds} of {seconds:g} s"}
    result = _report(measured, setting)
    result.publish(output)


def _reference(images: Sequence[bytes], seconds: float, reference: ReferenceProcess, rounds: Rounds) -> None:
    pace = reference.run(Reference.uploads, images, seconds)
    rounds.add(UPLOADS, images_per_s=pace.images_per_s, cpu_ms=pace.cpu_ms_per_image)


def _report(rounds: Rounds, setting: dict[str, str]) -> Report:
    ratio, cpu = rounds.ratio(SCORE, UPLOADS), rounds.cpu_ratio(SCORE, UPLOADS)
    found = Report("scoring", setting, asdict(rounds))
    rows = [
        [name, Spread.of(rounds.images_per_s[name]).text(1), Spread.of(rounds.cpu_ms[name]).text(2)]
        for name in (UPLOADS, SCORE)
    ]
    found.add(*table(["measurement", "images/s", "CPU ms/image"], rows))
    found.add(_EXPLANATION)
    goal = target("images/s of brainmri score / in process", ratio.median, at_least=0.95)
    found.add(*table(["figure", "asked", "median", ""], [goal]))
    found.add(f"Ratio of images/s: {ratio.text(3)}. Ratio of CPU time: {cpu.text(3)}.")
    return found


if __name__ == "__main__":
    typer.run(main)
