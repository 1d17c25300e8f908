"""Begins a bulk run, or continues it, and scores what is not done; safe to interrupt anywhere."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from brainmri.bulk.archives.archive import ArchiveLimits
from brainmri.bulk.child import Part
from brainmri.bulk.frames import Taken
from brainmri.bulk.inputs import Inputs
from brainmri.bulk.items import Item
from brainmri.bulk.manifest import Division, Frozen
from brainmri.bulk.run_folder import Method, Record, RunFolder
from brainmri.errors import ScoringHopeless, ScoringRefused
from brainmri.model.predictor import ModelIdentity

SHARD_SIZE = 256
_LEAST_FOR_A_RATE = 100
"""Images after which the share of failures says something."""


class Engine(Protocol):
    """What scores shards."""

    @property
    def model(self) -> ModelIdentity:
        """Which model answers."""
        ...

    def run(self, shards: Iterable[tuple[int, list[Item]]]) -> Iterator[Part]:
        """Yields the part of each shard, in any order."""
        ...


Fence = Callable[[int], AbstractContextManager[None]]


class Watcher(Protocol):
    """Who is told how far a run is."""

    def begun(self, images: int, done: int, failed: int) -> None:
        """So many images are to be scored, of which an earlier run has done some."""

    def advanced(self, done: int, failed: int) -> None:
        """So many images are stored."""


@dataclass(frozen=True)
class Share:
    """Which part of the shards to score: share `index` of `count`, counted from 0; consecutive shards."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        """Rejects a share that there is not."""
        if not 0 <= self.index < self.count:
            raise ScoringRefused(
                f"--shard-index {self.index} is not one of --num-shards {self.count}: it counts from 0 to"
                f" {self.count - 1}."
            )

    def shards(self, total: int) -> range:
        """Returns the numbers of its shards."""
        return range(total * self.index // self.count, total * (self.index + 1) // self.count)


@dataclass(frozen=True)
class Request:
    """What the caller asks for.

    Attributes:
        inputs: Paths, patterns and URLs; may be empty to continue a run.
        out: Folder of the run.
        resume: Whether to continue what is there.
        share: Which part of it.
        shard_size: Images of a shard; None takes the run's, or the default, or fewer where else a worker had none.
        archives: What archives to refuse.
        max_error_rate: Largest share of failed images, in [0, 1]; 1 goes on whatever happens.
        workers: Processes that score each share of it at a time.
        taken: Which slices of a file are images of their own.
    """

    inputs: tuple[str, ...]
    out: Path
    resume: bool
    share: Share
    shard_size: int | None
    archives: ArchiveLimits
    max_error_rate: float = 1.0
    workers: int = 1
    taken: Taken = Taken()  # noqa: RUF009 -- immutable


@dataclass(frozen=True)
class Scored:
    """What a run, or a share of it, has stored."""

    images: int
    failed: int


def shard_size(request: Request) -> int:
    """Returns the most images of a shard: what is asked for, or else what the run in the folder has, or the default."""
    record = RunFolder(request.out).record()
    return request.shard_size or (SHARD_SIZE if record is None else record.shard_size)


def check(request: Request) -> None:
    """Raises what `open_run` would raise, as far as it shows without the model.

    Raises:
        ScoringRefused: The folder holds a run and `resume` is not set; or an input does not exist.
    """
    record = RunFolder(request.out).record()
    if record is None:
        Inputs(request.inputs, request.archives).require()
    elif not request.resume and request.share.count == 1:
        raise ScoringRefused(f"{request.out} holds a run. Continue it with --resume, or choose another --out.")


def open_run(request: Request, method: Method) -> Record:
    """Begins the run that is asked for, or finds it in its folder; `check` comes first.

    Raises:
        ScoringRefused: The folder holds another run, or there is nothing to score.
    """
    folder = RunFolder(request.out)
    record = folder.record()
    if record is not None:
        asked = {"inputs": request.inputs or record.inputs, "shard_size": shard_size(request), "method": method}
        record.require(record.model_copy(update=asked))
        return record
    inputs = Inputs(request.inputs, request.archives, taken=request.taken)

    def make(frozen: Frozen) -> Record:
        return Record(
            inputs=request.inputs,
            items=frozen.items,
            items_sha256=frozen.sha256,
            left_out=inputs.left_out.total(),
            left_out_reasons=dict(inputs.left_out),
            shard_size=frozen.shard_size,
            method=method,
        )

    return folder.begin(inputs, request.share.index, _division(request), make)


def _division(request: Request) -> Division:
    if request.shard_size is not None:
        return Division(request.shard_size)
    return Division(SHARD_SIZE, request.share.count * request.workers)


def unfenced(_: int) -> AbstractContextManager[None]:
    """Lets every shard be stored: nobody else is at it."""
    return nullcontext()


def score(request: Request, record: Record, engine: Engine, watcher: Watcher, fence: Fence = unfenced) -> Scored:
    """Scores what is not done yet of the share that is asked for.

    Args:
        request: What is asked for.
        record: Of the run.
        engine: Scores shards.
        watcher: Is told how far it is.
        fence: Is entered while a shard of some number is stored; raises where another process has taken over.

    Raises:
        ScoringHopeless: More images fail than allowed, or the engine gives up.
    """
    folder = RunFolder(request.out)
    with folder.manifest(record) as manifest:
        shards = request.share.shards(manifest.shards)
        images = sum(map(manifest.size, shards))
        failures = {shard: folder.failures(shard, manifest.size(shard)) for shard in shards}
        missing = [shard for shard, failed in failures.items() if failed is None]
        done = images - sum(map(manifest.size, missing))
        failed = sum(filter(None, failures.values()))
        watcher.begun(images, done, failed)
        _require_rate(done, failed, images, request.max_error_rate)
        for part in engine.run((shard, manifest.items(shard)) for shard in missing):
            with fence(part.number):
                folder.write_part(part.number, part.parquet)
            done, failed = done + part.images, failed + part.failed
            watcher.advanced(done, failed)
            _require_rate(done, failed, images, request.max_error_rate)
    return Scored(done, failed)


def _require_rate(done: int, failed: int, images: int, most: float) -> None:
    if done >= min(_LEAST_FOR_A_RATE, images) and failed > most * done:
        raise ScoringHopeless(
            f"{failed} of {done} images failed, more than --max-error-rate {most:g} allows. Look at the messages in"
            " parts/, then raise it or mend the input.",
            limit=f"{most:g}",
        )
