"""The dataset as one memory-mapped array of model inputs, made by serving's own decode and resize."""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from brainmri.errors import DatasetError
from brainmri.imaging import PREPROCESSING_VERSION, SIDE, decode, to_tensor
from brainmri.model.contract import LABELS
from training.data.split import SplitRow
from training.data.tables import write_atomically

_PIXELS, _FACTS = "pixels.npy", "pixels.json"


@dataclass(frozen=True)
class Arrays:
    """Decoded images and their facts, row by row.

    Attributes:
        pixels: uint8 `[N, 299, 299, 3]`, usually memory-mapped.
        labels: intp `[N]`, indices into `LABELS`.
        groups: intp `[N]`, near-duplicate group numbers.
        rows: The split rows, in the same order.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.intp]
    groups: NDArray[np.intp]
    rows: list[SplitRow]

    def subset(self, name: str) -> NDArray[np.intp]:
        """Returns the row numbers of a subset, in order."""
        return np.array([number for number, row in enumerate(self.rows) if row.subset == name], dtype=np.intp)

    def one_of_each_group(self, name: str, count: int, seed: int) -> NDArray[np.uint8]:
        """Returns up to `count` images `[N, 299, 299, 3]` of a subset, drawn from as many near-duplicate groups."""
        rows = self.subset(name)
        _, first = np.unique(self.groups[rows], return_index=True)
        chosen = np.random.default_rng(seed).permutation(rows[first])[:count]
        return np.asarray(self.pixels[np.sort(chosen)])

    def leak_free(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Returns for each row number `[N]` whether no near-duplicate of it is in Training."""
        return np.array([not self.rows[number].leak for number in rows], dtype=bool)


def build_arrays(
    dataset: Path,
    rows: list[SplitRow],
    split_sha256: str,
    folder: Path,
    track: Callable[[list[SplitRow]], Iterable[SplitRow]] = iter,
) -> Arrays:
    """Decodes every image of the split once into `folder`; a later call for the same split only maps the file."""
    facts = {"split_sha256": split_sha256, "preprocessing_version": PREPROCESSING_VERSION, "images": len(rows)}
    facts_path = folder / _FACTS
    if not (facts_path.is_file() and json.loads(facts_path.read_text()) == facts):
        facts_path.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        shape = (len(rows), SIDE, SIDE, 3)
        # Aside, then renamed: a run that maps the old file keeps it.
        aside = folder / f".{_PIXELS}.{os.getpid()}"
        pixels = np.lib.format.open_memmap(aside, mode="w+", dtype=np.uint8, shape=shape)
        for number, row in enumerate(track(rows)):
            pixels[number] = to_tensor(decode((dataset / row.name).read_bytes()))
        pixels.flush()
        aside.replace(folder / _PIXELS)
        write_atomically(facts_path, json.dumps(facts).encode())
    return _map_arrays(folder, rows)


def _map_arrays(folder: Path, rows: list[SplitRow]) -> Arrays:
    pixels = cast("NDArray[np.uint8]", np.load(folder / _PIXELS, mmap_mode="r", allow_pickle=False))
    if len(pixels) != len(rows):
        raise DatasetError(f"{folder / _PIXELS} holds {len(pixels)} images, the split {len(rows)}. Delete {folder}.")
    return Arrays(
        pixels=pixels,
        labels=np.array([LABELS.index(row.label) for row in rows], dtype=np.intp),
        groups=np.array([row.group for row in rows], dtype=np.intp),
        rows=rows,
    )
