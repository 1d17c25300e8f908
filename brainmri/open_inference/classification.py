"""The classification extension: an output of probabilities as its k best classes, in words."""

import numpy as np
from numpy.typing import NDArray


def classify(probabilities: NDArray[np.float32], labels: tuple[str, ...], count: int) -> list[list[bytes]]:
    """Returns the best classes of each row as `value:index:label`, best first.

    Args:
        probabilities: `[B, C]`.
        labels: The C classes.
        count: How many to return, at least 1; more than C gives C.
    """
    # Stable, so that equal probabilities come in the order of the labels.
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    return [
        [f"{row[index]:f}:{index}:{labels[index]}".encode() for index in order]
        for row, order in zip(probabilities, best, strict=True)
    ]
