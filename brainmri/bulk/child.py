"""The process that decodes and runs the network: what crashes there, whoever started it outlives."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import AsyncGenerator, Callable, MutableSequence, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import pyarrow as pa
import pyarrow.parquet as pq

from brainmri.bulk.archives.archive import ArchiveLimits
from brainmri.bulk.heat_maps import HeatMapFolder
from brainmri.bulk.pipeline import Pipeline, Shard, ShardRows
from brainmri.bulk.row_tables import to_table
from brainmri.bulk.rows import FAILED
from brainmri.bulk.sources import Retry, Sources
from brainmri.dicom.folder import DicomFolder
from brainmri.errors import BrainMRIError
from brainmri.model.predictor import ModelIdentity, Predictor

Open = Callable[[], Predictor]
"""Loads the model; travels to the child, so it is a function or an object of a module."""


@dataclass(frozen=True)
class Work:
    """How a child works.

    Attributes:
        open_predictor: Loads the model.
        batch_size: Images in one inference, at least 1.
        decode_threads: At least 1.
        limits: What archives to refuse, and the largest file.
        retry: For reading.
        heat_maps: Takes the heat map of each image; none are made without.
        dicom: Takes the DICOM results of each image; none are made without.
        force: Answers also for DICOM objects that say they are not MRI of a head.
        tags: Keywords of the DICOM elements that are told in columns of their own.
    """

    open_predictor: Open
    batch_size: int
    decode_threads: int
    limits: ArchiveLimits
    retry: Retry
    heat_maps: HeatMapFolder | None = None
    dicom: DicomFolder | None = None
    force: bool = False
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ready:
    """The child has loaded its model."""

    model: ModelIdentity


@dataclass(frozen=True)
class Progress:
    """So many images of a shard are done."""

    number: int
    done: int


@dataclass(frozen=True)
class Part:
    """A shard is done.

    Attributes:
        number: Of the shard.
        images: Its rows.
        failed: How many of them have no answer.
        parquet: The rows as a Parquet file.
    """

    number: int
    images: int
    failed: int
    parquet: bytes


Message = Ready | Progress | Part | BrainMRIError


def run(work: Work, tasks: Connection, messages: Connection, marks: MutableSequence[int]) -> None:
    """Scores the shards that come through `tasks`, until that is closed; the main function of the child.

    Args:
        work: How.
        tasks: Where shards come from.
        messages: Where `Ready`, `Progress` and `Part` go; an error of this project instead of `Ready`.
        marks: Shared with the parent; see `brainmri.bulk.pipeline`.
    """
    # Ctrl-C reaches every process of a terminal; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What fails is a row; without this, each batch that fails would be a traceback on the terminal as well.
    logging.getLogger("brainmri.batching.streams").setLevel(logging.CRITICAL)
    asyncio.run(_run(work, tasks, messages, marks))


async def _run(work: Work, tasks: Connection, messages: Connection, marks: MutableSequence[int]) -> None:
    loop, waiting = asyncio.get_running_loop(), asyncio.Queue[Shard]()

    def put(shard: Shard) -> None:
        loop.call_soon_threadsafe(waiting.put_nowait, shard)

    threading.Thread(target=_receive, args=(tasks, put), name="receive", daemon=True).start()
    try:
        predictor = work.open_predictor()
        predictor.warm_up()
    except BrainMRIError as error:
        messages.send(error)
        return
    messages.send(Ready(predictor.model))
    pipeline = Pipeline(
        predictor,
        Sources(work.limits, work.retry, decode=predictor.limits),
        work.batch_size,
        work.decode_threads,
        marks=marks,
        on_batch=lambda number, done: messages.send(Progress(number, done)),
        on_shard=lambda shard: messages.send(part_of(shard, work.tags)),
        heat_maps=work.heat_maps,
        dicom=work.dicom,
        force=work.force,
        tags=work.tags,
    )
    await pipeline.run(_each(waiting))


def _receive(tasks: Connection, put: Callable[[Shard], object]) -> None:
    while True:
        try:
            put(tasks.recv())
        except (EOFError, OSError):
            # The parent has ended, by SIGKILL perhaps; whoever continues its run must be alone.
            os._exit(1)


async def _each(waiting: "asyncio.Queue[Shard]") -> AsyncGenerator[Shard, None]:
    while True:
        yield await waiting.get()


def part_of(shard: ShardRows, tags: Sequence[str] = ()) -> Part:
    """Returns the rows of a shard as they are stored."""
    sink = pa.BufferOutputStream()
    pq.write_table(to_table(shard.rows, tags), sink, compression="zstd")
    failed = sum(row.status == FAILED for row in shard.rows)
    return Part(shard.number, len(shard.rows), failed, sink.getvalue().to_pybytes())
