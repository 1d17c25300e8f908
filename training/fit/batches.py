"""Batches for Keras, drawn by near-duplicate group, reproducible from the seed, the epoch and the row alone."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from brainmri.model.contract import LABELS
from training.data.arrays import Arrays
from training.fit.augment import augment
from training.fit.recipe import Recipe

Batch = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]


class TrainBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Augmented, mixed and weighted batches of the train subset.

    One item is (images uint8 `[B, 299, 299, 3]`, targets float32 `[B, 4]`, weights float32 `[B]`).
    What an item holds depends on the recipe's seed, the epoch and its index only, so that workers may
    prepare items in any order and a resumed run sees what an uninterrupted one would have seen.
    """

    def __init__(
        self, arrays: Arrays, rows: NDArray[np.intp], recipe: Recipe, batch_size: int, epoch: int, workers: int = 2
    ) -> None:
        """Prepares the batches of `rows` from `epoch` (counted over all phases) on.

        `Model.fit` calls `on_epoch_end` once before its first epoch too, so that it trains on the draws from
        `epoch + 1` on, in a fresh and in a resumed run alike.
        """
        super().__init__(workers=workers, use_multiprocessing=False, max_queue_size=8)
        self._arrays, self._recipe, self._batch_size = arrays, recipe, batch_size
        self._members = _members(arrays, rows, recipe.sampling)
        self._label_weights = _label_weights(arrays, self._members, recipe.balance)
        self._epoch = epoch
        self._order = self._draw()

    def __len__(self) -> int:
        """Returns full batches an epoch; a run smaller than one batch has one."""
        return max(1, len(self._order) // self._batch_size)

    def __getitem__(self, index: int) -> Batch:
        """Returns batch `index` of the current epoch."""
        rows = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        seed = self._recipe.seed
        images = np.stack(
            [
                augment(
                    self._arrays.pixels[row],
                    self._recipe.augmentation,
                    np.random.default_rng([seed, self._epoch, int(row)]),
                )
                for row in rows
            ]
        )
        targets = _one_hot(self._arrays.labels[rows])
        if self._recipe.mixup > 0:
            rng = np.random.default_rng([seed, self._epoch, index, len(self._arrays.pixels)])
            images, targets = mix(images, targets, self._recipe.mixup, rng)
        return images, targets, targets @ self._label_weights

    def on_epoch_end(self) -> None:
        """Moves on to the next epoch's draw."""
        self._epoch += 1
        self._order = self._draw()

    def _draw(self) -> NDArray[np.intp]:
        rng = np.random.default_rng([self._recipe.seed, self._epoch])
        drawn = np.array([members[rng.integers(len(members))] for members in self._members], dtype=np.intp)
        return rng.permutation(drawn)


class EvaluationBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Unaltered images of some rows in order; each near-duplicate group weighs one image in all."""

    def __init__(self, arrays: Arrays, rows: NDArray[np.intp], batch_size: int = 32) -> None:
        """Prepares the batches of `rows`."""
        super().__init__(workers=1, use_multiprocessing=False)
        self._arrays, self._rows, self._batch_size = arrays, rows, batch_size
        self._weights = group_weights(arrays.groups[rows])

    def __len__(self) -> int:
        """Returns the number of batches, the last one possibly smaller."""
        return math.ceil(len(self._rows) / self._batch_size)

    def __getitem__(self, index: int) -> Batch:
        """Returns batch `index`."""
        part = slice(index * self._batch_size, (index + 1) * self._batch_size)
        rows = self._rows[part]
        return np.asarray(self._arrays.pixels[rows]), _one_hot(self._arrays.labels[rows]), self._weights[part]


def group_weights(groups: NDArray[np.intp]) -> NDArray[np.float32]:
    """Returns `[N]` weights of mean one that give every group of `groups` `[N]` the same total."""
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    weights = 1.0 / counts[inverse]
    return np.asarray(weights / weights.mean(), dtype=np.float32)


def mix(
    images: NDArray[np.uint8], targets: NDArray[np.float32], alpha: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Blends each image, and its target, with another of the batch (mixup, arXiv:1710.09412)."""
    share = np.float32(rng.beta(alpha, alpha))
    partner = rng.permutation(len(images))
    blended = images * share + images[partner] * (1 - share)
    return np.rint(blended).astype(np.uint8), targets * share + targets[partner] * (1 - share)


def _members(arrays: Arrays, rows: NDArray[np.intp], sampling: str) -> Sequence[NDArray[np.intp]]:
    if sampling == "image":
        return [rows[i : i + 1] for i in range(len(rows))]
    order = np.argsort(arrays.groups[rows], kind="stable")
    groups = arrays.groups[rows][order]
    return np.split(rows[order], np.flatnonzero(np.diff(groups)) + 1)


def _label_weights(arrays: Arrays, members: Sequence[NDArray[np.intp]], balance: bool) -> NDArray[np.float32]:
    counts = np.bincount([arrays.labels[m[0]] for m in members], minlength=len(LABELS))
    if not balance:
        return np.ones(len(LABELS), dtype=np.float32)
    return np.asarray(len(members) / (len(LABELS) * np.maximum(counts, 1)), dtype=np.float32)


def _one_hot(labels: NDArray[np.intp]) -> NDArray[np.float32]:
    identity: NDArray[Any] = np.eye(len(LABELS), dtype=np.float32)
    return np.asarray(identity[labels])
