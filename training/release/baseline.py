"""A classifier that sees no anatomy: what brightness, size and outline alone tell about the label.

A network that is hardly better than this has learnt the source of a slice.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from training import metrics
from training.data.slices import UNNAMED, Slices
from training.data.sources import TEST, TRAIN

_DEPTH = 6
_LEVELS = (1, 5, 25, 50, 75, 95, 99)
_BACKGROUND = 20


def describe_baseline(slices: Slices) -> dict[str, Any]:
    """Returns accuracy and macro-F1 by person of a small decision tree over `outline_features`."""
    train, test = slices.subset(TRAIN), slices.subset(TEST)
    train = train[slices.labels[train] != UNNAMED]
    tree = DecisionTreeClassifier(max_depth=_DEPTH, class_weight="balanced", random_state=0)
    tree.fit(_features(slices, train), slices.labels[train])
    predicted, labels = tree.predict(_features(slices, test)), slices.labels[test]
    return {
        "macro_f1": metrics.macro_f1(predicted, labels, len(slices.classes.labels)),
        "accuracy": float((predicted == labels).mean()),
        "depth": _DEPTH,
    }


def outline_features(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Returns levels of grey, and size, place and filling of the head's outline, for a model input `[H, W, 3]`."""
    grey = pixels[..., 0]
    inside = grey > _BACKGROUND
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    box = [rows[0], rows[-1], columns[0], columns[-1]] if len(rows) else [0, 0, 0, 0]
    return np.array([*np.percentile(grey, _LEVELS), grey.mean(), grey.std(), inside.mean(), *box], dtype=np.float64)


def _features(slices: Slices, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.stack([outline_features(slices.pixels[row]) for row in rows])
