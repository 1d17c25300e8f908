"""Runs one batch; a failure is narrowed to the request that causes it."""

import logging
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from brainmri.errors import InferenceFailed
from brainmri.model.predictor import Predictor
from brainmri.model.runtimes.protocol import Output

_logger = logging.getLogger(__name__)


class Part(Protocol):
    """Images that are answered, or fail, together."""

    @property
    def images(self) -> NDArray[np.uint8]:
        """uint8 `[n, 299, 299, 3]`."""
        ...


def run_batch(predictor: Predictor, parts: Sequence[Part]) -> list[Output | InferenceFailed]:
    """Returns the output of each part, in order; the error for a part that fails also when it is run alone.

    A batch that fails is halved until the failing parts are found: for one of them among n, about 2 log2 n runs.
    """
    try:
        output = _run_padded(predictor, [part.images for part in parts])
    except Exception as error:  # a runtime may raise anything, and none of it may reach other requests
        if len(parts) > 1:
            middle = len(parts) // 2
            return run_batch(predictor, parts[:middle]) + run_batch(predictor, parts[middle:])
        _logger.error("%s failed on the images of one request", predictor.contract.tag, exc_info=error)
        return [InferenceFailed("The network failed on the images of this request. Other requests are not affected.")]
    outputs: list[Output | InferenceFailed] = []
    row = 0
    for part in parts:
        count = len(part.images)
        outputs.append(output.rows(row, row + count))
        row += count
    return outputs


def _run_padded(predictor: Predictor, images: Sequence[NDArray[np.uint8]]) -> Output:
    rows = images[0] if len(images) == 1 else np.concatenate(images)
    count = len(rows)
    sizes = predictor.runtime_info.batch_sizes
    size = next((size for size in sizes if size >= count), count)
    if size > count:
        rows = np.concatenate([rows, np.zeros((size - count, *rows.shape[1:]), np.uint8)])
    output = predictor.infer(rows)
    if len(output.logits) != size or len(output.features) != size:
        raise ValueError(
            f"The network answered {size} images with {len(output.logits)} rows of logits and"
            f" {len(output.features)} of features."
        )
    return output.rows(0, count)
