"""What turns the last feature map into logits: pooling, and one hidden layer between two dropouts."""

from dataclasses import dataclass
from typing import Any, Literal

import keras

FEATURES, HIDDEN, LOGITS = "features", "hidden", "logits"
GAP_128, FLATTEN_512 = "gap_128", "flatten_512"


@dataclass(frozen=True)
class ClassifierHead:
    """Pooling, dropout, a hidden layer with a ReLU, dropout, logits.

    Attributes:
        pooling: `mean` or `max` over the picture, or `flatten`, which keeps every cell.
        units: Of the hidden layer.
        dropout: Before the hidden layer; 0 for none.
        hidden_dropout: After it.
    """

    pooling: Literal["mean", "max", "flatten"]
    units: int
    dropout: float
    hidden_dropout: float

    @property
    def explains(self) -> bool:
        """Whether heat maps follow from the last feature map: the hidden layer takes the mean of the cells."""
        return self.pooling == "mean"

    def __call__(self, feature_map: Any, classes: int, seed: int) -> Any:
        """Returns logits `[B, classes]` of a feature map."""
        x = _pooling(self.pooling)(feature_map)
        if self.dropout:
            x = keras.layers.Dropout(self.dropout, seed=seed, name="dropout_features")(x)
        x = keras.layers.Dense(self.units, activation="relu", name=HIDDEN)(x)
        x = keras.layers.Dropout(self.hidden_dropout, seed=seed + 1, name="dropout_hidden")(x)
        return keras.layers.Dense(classes, dtype="float32", name=LOGITS)(x)


HEADS = {
    GAP_128: ClassifierHead("mean", 128, 0.30, 0.25),
    "max_128": ClassifierHead("max", 128, 0.30, 0.25),
    "flatten_128": ClassifierHead("flatten", 128, 0.30, 0.25),
    "gap_256": ClassifierHead("mean", 256, 0.0, 0.50),
    FLATTEN_512: ClassifierHead("flatten", 512, 0.0, 0.50),
}
"""By the name that recipes use; `gap_128` is that of the released model."""


def _pooling(kind: str) -> keras.layers.Layer:
    if kind == "mean":
        return keras.layers.GlobalAveragePooling2D(dtype="float32", name=FEATURES)
    if kind == "max":
        return keras.layers.GlobalMaxPooling2D(dtype="float32", name=FEATURES)
    # In the same order of cells and channels in both layouts, so that weights mean the same.
    return keras.layers.Flatten(dtype="float32", name=FEATURES)
