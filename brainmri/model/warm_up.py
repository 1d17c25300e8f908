"""Makes a freshly loaded model as quick as it will stay, and shows that it works at all."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from brainmri.errors import InvalidBundle
from brainmri.imaging import SIDE
from brainmri.model.predictor import Predictor, warm_up_decoding


def warm_up(predictor: Predictor, max_batch_size: int) -> None:
    """Runs every stage, and the network with the batch sizes that it will see; returns when all have been run.

    All of them: what a runtime allocates for a size would otherwise make memory grow under load (decision 0017).

    Args:
        predictor: The model.
        max_batch_size: Most images in one inference.

    Raises:
        InvalidBundle: The network fails on a black image.
    """
    sizes = predictor.runtime_info.batch_sizes or range(1, max_batch_size + 1)
    black = np.zeros((max(sizes), SIDE, SIDE, 3), np.uint8)
    batches = [black[:size] for size in sizes]
    try:
        with ThreadPoolExecutor(1) as beside:
            decoding = beside.submit(warm_up_decoding)
            _run_on_every_stream(predictor, batches)
            decoding.result()
        predictor.warm_up()
    except (ValueError, RuntimeError) as error:
        raise InvalidBundle(
            f"The network of {predictor.contract.tag} fails on a black image: {error}. Export the model again."
        ) from error


def _run_on_every_stream(predictor: Predictor, batches: Sequence[NDArray[np.uint8]]) -> None:
    """Runs each batch on every stream at the same time; where there are several, the first one also alone."""
    streams = predictor.runtime_info.streams
    with ThreadPoolExecutor(streams + 1) as threads:
        for number, images in enumerate(batches):
            # The very first call is alone when it begins, and with several streams there may be a network for that.
            calls = streams + 1 if streams > 1 and number == 0 else streams
            list(threads.map(predictor.infer, [images] * calls))
