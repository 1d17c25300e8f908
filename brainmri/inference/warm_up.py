"""Makes a freshly loaded model as quick as it will stay, and shows that it works at all."""

import numpy as np

from brainmri.errors import InvalidBundle
from brainmri.imaging import SIDE
from brainmri.inference.predictor import Predictor


def warm_up(predictor: Predictor, max_batch_size: int) -> None:
    """Runs every stage, and the network with the batch sizes that it will see, in the calling thread.

    Args:
        predictor: The model.
        max_batch_size: Most images in one inference.

    Raises:
        InvalidBundle: The network fails on a black image.
    """
    sizes = predictor.runtime_info.batch_sizes or range(1, max_batch_size + 1)
    try:
        for size in sizes:
            predictor.infer(np.zeros((size, SIDE, SIDE, 3), np.uint8))
        predictor.warm_up()
    except (ValueError, RuntimeError) as error:
        raise InvalidBundle(
            f"The network of {predictor.contract.tag} fails on a black image: {error}. Export the model again."
        ) from error
