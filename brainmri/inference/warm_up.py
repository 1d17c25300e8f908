"""Makes a freshly loaded model as quick as it will stay, and shows that it works at all."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from brainmri.errors import InvalidBundle
from brainmri.imaging import SIDE
from brainmri.inference.predictor import Predictor


def warm_up(predictor: Predictor, max_batch_size: int) -> None:
    """Runs every stage, and the network with the batch sizes that it will see, in the calling thread.

    All of them: what a runtime allocates for a size would otherwise make memory grow under load (decision 0017).

    Args:
        predictor: The model.
        max_batch_size: Most images in one inference.

    Raises:
        InvalidBundle: The network fails on a black image.
    """
    sizes = predictor.runtime_info.batch_sizes or range(1, max_batch_size + 1)
    try:
        # A runtime may have one network for what is alone and others for what runs side by side. First alone:
        # afterwards it expects company for a while.
        for run in (predictor.infer, partial(_fill_streams, predictor)):
            for size in sizes:
                run(np.zeros((size, SIDE, SIDE, 3), np.uint8))
        predictor.warm_up()
    except (ValueError, RuntimeError) as error:
        raise InvalidBundle(
            f"The network of {predictor.contract.tag} fails on a black image: {error}. Export the model again."
        ) from error


def _fill_streams(predictor: Predictor, images: NDArray[np.uint8]) -> None:
    """Runs a batch as often as there are streams, and once more, at the same time."""
    streams = predictor.runtime_info.streams
    if streams > 1:
        with ThreadPoolExecutor(streams + 1) as threads:
            list(threads.map(predictor.infer, [images] * (streams + 1)))
