"""What the heat maps of a network need besides its feature map: the head's parameters, and their place in the contract.

The serving network applies its hidden layer to each cell of the last map as well as to the mean (`with_features`), so
that 128 numbers a cell leave the runtime instead of 2,048. The last kernel is written less its mean over the classes:
the probabilities are the same, and the logits that are explained have a mean of zero.
"""

from pathlib import Path

import keras
import numpy as np

from brainmri.model.bundle import file_sha256
from brainmri.model.contract import Explanation
from brainmri.model.explanation import write_head
from training.fit.model import FEATURE_MAP, HIDDEN, LOGITS

HEAD = "explanation/head.npz"
"""Where a bundle keeps it."""


def export_head(model: keras.Model, path: Path) -> Explanation | None:
    """Writes the head of a serving network and returns what its contract says about heat maps; None if it has none.

    Args:
        model: From `training.fit.model.with_features`.
        path: Receives the parameters, float32.
    """
    if FEATURE_MAP not in model.output:
        path.unlink(missing_ok=True)
        return None
    hidden, last = model.get_layer(HIDDEN).get_weights(), model.get_layer(LOGITS).get_weights()
    path.parent.mkdir(parents=True, exist_ok=True)
    kernel = np.asarray(last[0], np.float32)
    write_head(path, np.asarray(hidden[1], np.float32), kernel - kernel.mean(axis=1, keepdims=True))
    rows, columns, channels = model.output[FEATURE_MAP].shape[1:]
    return Explanation(
        method="grad-cam",
        rows=rows,
        columns=columns,
        channels=channels,
        file=HEAD,
        sha256=file_sha256(path),
        bytes=path.stat().st_size,
    )
