"""Scores shards on a Ray cluster: Ray Data maps them over a pool of actors, and this process stores their parts.

Each actor runs the same child process as the local engine, on the same shards and batches, so results are the same.
Images and the bundle must be readable under the same paths on every machine; the folder of the run only here.
"""

import json
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from brainmri.bulk.child import Part, Work
from brainmri.bulk.items import Item
from brainmri.bulk.supervisor import Supervisor
from brainmri.errors import ScoringRefused
from brainmri.model.predictor import ModelIdentity

# Read by Ray on import. Where `uv run` has started this process, Ray would start its workers by it too, in a copy of
# the working directory, and they would not come.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")

try:
    import ray
    import ray.data
except ImportError as error:
    raise ScoringRefused("--engine ray needs an extra. Install it with: uv sync --extra ray") from error


class RayEngine:
    """An `Engine`. Use it as a context manager; RAY_ADDRESS names the cluster, without it one is started here.

    Args:
        work: How each actor works.
        shard_size: Most images of a shard.
        actors: Number of actors.
        cpus: CPUs of each.
    """

    def __init__(self, work: Work, shard_size: int, actors: int, cpus: int) -> None:
        self._work = work
        self._shard_size = shard_size
        self._actors = actors
        self._cpus = cpus
        self._connected_here = False

    def __enter__(self) -> "RayEngine":
        """Connects, and loads the model once over there to see that it can be."""
        if not ray.is_initialized():
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
            self._connected_here = True
        # The run shows its own progress.
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        identify = ray.remote(num_cpus=self._cpus)(_identify)
        self._model: ModelIdentity = ray.get(identify.remote(self._work, self._shard_size))
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnects, if this object has connected."""
        if self._connected_here:
            ray.shutdown()

    @property
    def model(self) -> ModelIdentity:
        """Which model answers."""
        return self._model

    def run(self, shards: Iterable[tuple[int, list[Item]]]) -> Iterator[Part]:
        """Yields the part of each shard, as they are done.

        Args:
            shards: Number and images of each.
        """
        rows = [{"number": number, "items": _text(items)} for number, items in shards]
        if not rows:
            return
        parts = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Actor,
            fn_constructor_args=(self._work, self._shard_size),
            batch_size=1,
            num_cpus=self._cpus,
            compute=ray.data.ActorPoolStrategy(size=self._actors),
        )
        for row in parts.iter_rows():
            yield Part(row["number"], row["images"], row["failed"], row["parquet"])


class _Actor:
    """One loaded model on some machine of the cluster."""

    def __init__(self, work: Work, shard_size: int) -> None:
        # It ends with the actor's process: its child notices.
        self._supervisor = Supervisor(work, shard_size).__enter__()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Scores one shard."""
        shards = zip(batch["number"].tolist(), batch["items"], strict=True)
        parts = list(self._supervisor.run((number, _items(text)) for number, text in shards))
        return {
            "number": np.array([part.number for part in parts]),
            "images": np.array([part.images for part in parts]),
            "failed": np.array([part.failed for part in parts]),
            "parquet": np.array([part.parquet for part in parts], object),
        }


def _text(items: list[Item]) -> str:
    return json.dumps([asdict(item) for item in items])


def _items(text: str) -> list[Item]:
    return [Item(**fields) for fields in json.loads(text)]


def _identify(work: Work, shard_size: int) -> ModelIdentity:
    with Supervisor(work, shard_size) as supervisor:
        return supervisor.model
