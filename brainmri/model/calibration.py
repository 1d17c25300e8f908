"""Logits to calibrated probabilities."""

import numpy as np
from numpy.typing import NDArray


def probabilities(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Returns `softmax(logits / temperature)`, computed in float64 (Guo et al. 2017, arXiv:1706.04599).

    Args:
        logits: float32 `[B, C]`.
        temperature: Greater than 0; 1 leaves the network's own probabilities, more than 1 softens them.

    Returns:
        float32 `[B, C]`; each row sums to 1 within rounding.

    Raises:
        ValueError: `temperature` is not positive, or a logit is not finite.
    """
    if not temperature > 0:
        raise ValueError(f"The temperature must be greater than 0, got {temperature}.")
    if not np.isfinite(logits).all():
        raise ValueError("The network answered with a logit that is not finite.")
    scaled = logits.astype(np.float64) / temperature
    # The largest exponent becomes 0, so that exp cannot overflow.
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)
