"""Batches for Keras with fixed shares of labels and sources; the seed, the epoch and the index alone decide them."""

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from brainmri.errors import DatasetError
from brainmri.model.contract import RELEASED_CLASSES, Classes
from training.data.boxes import Box
from training.data.slices import NOWHERE, UNNAMED, Slices, index_of_no_tumor
from training.data.sources import TRAIN
from training.fit import transplant
from training.fit.augment import augment
from training.fit.framing import reframe
from training.fit.recipe import Recipe
from training.fit.styles import restyle
from training.fit.transplant import Donor

Batch = tuple[NDArray[np.uint8], dict[str, NDArray[np.float32]]]
Grey = NDArray[np.float32]

_TRIES = 3
"""Donors tried for a place that holds tissue."""

_DONATED = ("glioma", "meningioma")
"""Tumours that are put into other slices; those of the pituitary have their one place."""


@dataclass(frozen=True)
class _Stratum:
    """Images of one label from one family of sources.

    Attributes:
        share: Of a batch.
        units: Rows of each unit: near-duplicates, and copies of one slice.
    """

    share: float
    units: list[NDArray[np.intp]]


@dataclass(frozen=True)
class _Picture:
    """One training image on its way: grey values `[H, W]`, label index, and the tumour's box."""

    image: Grey
    label: int
    box: Box | None


class BalancedBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Batches of the train subset; each image is drawn by label, then source, then unit, then file.

    One item is (images uint8 `[B, 299, 299, 3]`, {"target": float32 `[B, C]`, "box": float32 `[B, 4]`}). A target has
    a one for each label that the image may have: one of them, or the three tumours. Boxes are left, top, right, bottom
    in shares, zeros where none is known. What an item holds depends on the recipe's seed, the epoch and its index only.
    """

    def __init__(self, slices: Slices, recipe: Recipe, batch_size: int, epoch: int, workers: int = 2) -> None:
        """Prepares the batches from `epoch` (counted over all phases) on.

        `Model.fit` calls `on_epoch_end` once before its first epoch too, so that it trains on the draws from
        `epoch + 1` on, in a fresh and in a resumed run alike.
        """
        super().__init__(workers=workers, use_multiprocessing=False, max_queue_size=4)
        self._slices, self._recipe, self._batch_size, self._epoch = slices, recipe, batch_size, epoch
        self._no_tumor = slices.no_tumor
        self._strata = _strata(slices, shares_of(recipe, slices.classes))
        self._shares = np.array([stratum.share for stratum in self._strata])
        rows = slices.subset(TRAIN)
        has_box = slices.boxes[rows, 2] > 0
        named = np.isin(
            slices.labels[rows], [place for place, label in enumerate(slices.classes.labels) if label in _DONATED]
        )
        self._donors = rows[has_box & named]

    def __len__(self) -> int:
        """Returns the batches of an epoch."""
        return self._recipe.steps

    def __getitem__(self, index: int) -> Batch:
        """Returns batch `index` of the current epoch."""
        rng = np.random.default_rng([self._recipe.seed, self._epoch, index])
        grey, labels, boxes = zip(*(self._drawn(rng) for _ in range(self._batch_size)), strict=True)
        return np.repeat(np.stack(grey)[..., None], 3, axis=3), {
            "target": np.stack([possible_labels(label, self._slices.classes) for label in labels]),
            "box": np.array([box.values() if box else (0.0, 0.0, 0.0, 0.0) for box in boxes], np.float32),
        }

    def on_epoch_end(self) -> None:
        """Moves on to the next epoch's draw."""
        self._epoch += 1

    def _drawn(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], int, Box | None]:
        stratum = self._strata[rng.choice(len(self._strata), p=self._shares)]
        unit = stratum.units[rng.integers(len(stratum.units))]
        picture = self._transplanted(self._read(int(rng.choice(unit))), rng)
        image, box = reframe(picture.image, picture.box, self._recipe.framing, rng)
        image = restyle(image, box, self._another(rng), self._recipe.styles, rng)
        return augment(image, self._recipe.augmentation, rng), picture.label, box

    def _another(self, rng: np.random.Generator) -> Grey:
        """Returns an image of any stratum, for its amplitudes."""
        units = self._strata[rng.integers(len(self._strata))].units
        return self._read(int(rng.choice(units[rng.integers(len(units))]))).image

    def _read(self, row: int) -> _Picture:
        pixels = self._slices.pixels[row]
        return _Picture(_grey(pixels), int(self._slices.labels[row]), self._slices.box(row))

    def _donor(self, rng: np.random.Generator) -> Donor:
        picture = self._read(int(rng.choice(self._donors)))
        if picture.box is None:
            raise AssertionError("donors have boxes")
        return Donor(picture.image, picture.box, picture.label)

    def _transplanted(self, picture: _Picture, rng: np.random.Generator) -> _Picture:
        how = self._recipe.transplants
        if picture.box is not None and self._no_tumor != NOWHERE and rng.random() < how.erase:
            healthy = transplant.erased(picture.image, picture.box)
            if healthy is not None:
                return _Picture(healthy, self._no_tumor, None)
        if picture.label == self._no_tumor and len(self._donors) and rng.random() < how.paste:
            for _ in range(_TRIES):
                donor = self._donor(rng)
                result = transplant.pasted(picture.image, donor, rng)
                if result is not None:
                    return _Picture(result[0], donor.label, result[1])
        if rng.random() < how.sham:
            return self._sham(picture, rng)
        return picture

    def _sham(self, picture: _Picture, rng: np.random.Generator) -> _Picture:
        if picture.label == self._no_tumor and len(self._donors):
            changed = transplant.sham_pasted(picture.image, self._donor(rng), rng)
        elif picture.box is not None or picture.label == self._no_tumor:
            changed = transplant.sham_erased(picture.image, picture.box, rng)
        else:
            changed = None
        return picture if changed is None else _Picture(changed, picture.label, picture.box)


class EvaluationImages(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Unaltered images of some rows in order, uint8 `[B, 299, 299, 3]`."""

    def __init__(self, slices: Slices, rows: NDArray[np.intp], batch_size: int = 32) -> None:
        """Prepares the batches of `rows`."""
        super().__init__(workers=1, use_multiprocessing=False)
        self._slices, self._rows, self._batch_size = slices, rows, batch_size

    def __len__(self) -> int:
        """Returns the number of batches, the last one possibly smaller."""
        return math.ceil(len(self._rows) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8]]:
        """Returns batch `index`."""
        rows = self._rows[index * self._batch_size : (index + 1) * self._batch_size]
        return (np.asarray(self._slices.pixels[rows]),)


def shares_of(recipe: Recipe, classes: Classes) -> dict[str, float]:
    """Returns the share of each label in a batch: the recipe's; for own labels that it does not name, equal ones.

    Raises:
        DatasetError: The recipe names a share for a label that there is not.
    """
    if classes == RELEASED_CLASSES:
        return recipe.shares
    if "shares" not in recipe.model_fields_set:
        return dict.fromkeys(classes.labels, 1 / len(classes.labels))
    if unknown := recipe.shares.keys() - set(classes.labels):
        raise DatasetError(
            f"The recipe's shares name {', '.join(sorted(unknown))}; the labels are {', '.join(classes.labels)}."
            " Leave `shares` out to draw all labels alike."
        )
    return recipe.shares


def possible_labels(label: int, classes: Classes = RELEASED_CLASSES) -> NDArray[np.float32]:
    """Returns `[C]` with a one for each label that an image of the label `label` may have."""
    target: NDArray[Any] = np.zeros(len(classes.labels), np.float32)
    if label == UNNAMED:
        target[:] = 1
        target[index_of_no_tumor(classes)] = 0
    else:
        target[label] = 1
    return target


def _strata(slices: Slices, shares: dict[str, float]) -> list[_Stratum]:
    """Returns the strata of the train subset; within a label, sources share by the root of their numbers of units."""
    members: dict[tuple[str, str], dict[int, list[int]]] = {}
    for row in slices.subset(TRAIN).tolist():
        members.setdefault(slices.family(row), {}).setdefault(int(slices.groups[row]), []).append(row)
    strata = []
    for label, share in shares.items():
        of_label = {family: units for family, units in members.items() if family[0] == label}
        roots = {family: math.sqrt(len(units)) for family, units in of_label.items()}
        strata += [
            _Stratum(share * roots[family] / sum(roots.values()), [np.array(rows) for rows in units.values()])
            for family, units in of_label.items()
        ]
    total = sum(stratum.share for stratum in strata)
    return [_Stratum(stratum.share / total, stratum.units) for stratum in strata]


def _grey(pixels: NDArray[np.uint8]) -> Grey:
    return np.asarray(pixels[..., 1], dtype=np.float32)
