"""What a network is trained to make small: the surprise at a label, and a heat map outside the tumour."""

from typing import Any

import keras

_SMALL = 1e-6
_LEAST_HEAT = 1e-3
"""Heat of a map, in units of the logit times cells, below which it counts as none."""


def label_loss(target: Any, logits: Any, smoothing: float) -> Any:
    """Returns `-log` of the probability of the labels that an image may have, `[B]`.

    One possible label makes it cross entropy. For "some tumour" it is `-log(1 - p(notumor))`.

    Args:
        target: float32 `[B, C]`, a one for each possible label.
        logits: float32 `[B, C]`.
        smoothing: Share of the loss that every label takes equally, where one label alone is possible.
    """
    ops = keras.ops
    logs = ops.log_softmax(logits, axis=-1)
    surprise = -ops.logsumexp(ops.where(target > 0, logs, -1e9), axis=-1)
    is_single = ops.cast(ops.sum(target, axis=-1) < 1.5, logits.dtype)
    share = smoothing * is_single
    return (1 - share) * surprise - share * ops.mean(logs, axis=-1)


def label_weights(target: Any, logits: Any) -> Any:
    """Returns how much each label's evidence counts in an image's heat map, `[B, C]`, rows summing to one.

    One possible label has it all; "some tumour" divides it by the probabilities of the tumours.
    """
    ops = keras.ops
    chosen = ops.where(target > 0, logits, -1e9)
    return ops.stop_gradient(ops.softmax(chosen, axis=-1))


def evidence(feature_map: Any, pooled: Any, weights: Any, head: tuple[Any, Any, Any]) -> Any:
    """Returns Grad-CAM `[B, H, W]` of a head of two layers, worked out exactly (Selvaraju 2017, arXiv:1610.02391).

    What is explained is a logit less the mean of all logits. Probabilities know logits only up to a constant, so a
    network can make all of them negative, and the map of a bare logit is then empty.

    Args:
        feature_map: `[B, H, W, K]`, what is pooled.
        pooled: Its mean over the picture, `[B, K]`.
        weights: How much each logit counts, `[B, C]`.
        head: Kernel `[K, M]` and bias `[M]` of the hidden layer, which ends in a ReLU, and the last kernel `[M, C]`.
    """
    ops = keras.ops
    kernel, bias, last = head
    active = ops.cast(ops.matmul(pooled, kernel) + bias > 0, pooled.dtype)
    centred = last - ops.mean(last, axis=1, keepdims=True)
    gradient = ops.matmul(ops.matmul(weights, ops.transpose(centred)) * active, ops.transpose(kernel))
    return ops.relu(ops.einsum("bhwk,bk->bhw", feature_map, gradient))


def coverage(box: Any, height: int, width: int) -> Any:
    """Returns `[B, height, width]`: the share of each cell that a box `[B, 4]` covers, the best cell made 1."""
    ops = keras.ops
    columns, rows = ops.arange(width, dtype="float32") / width, ops.arange(height, dtype="float32") / height
    left, top, right, bottom = (box[:, i : i + 1] for i in range(4))
    across = ops.relu(ops.minimum(columns + 1 / width, right) - ops.maximum(columns, left))
    down = ops.relu(ops.minimum(rows + 1 / height, bottom) - ops.maximum(rows, top))
    covered = down[:, :, None] * across[:, None, :]
    return covered / (ops.max(covered, axis=(1, 2), keepdims=True) + _SMALL)


def map_loss(heat: Any, box: Any) -> Any:
    """Returns `-log` of the share of the heat `[B, H, W]` that lies in the box `[B, 4]`; zero where there is no box."""
    ops = keras.ops
    inside = ops.sum(heat * coverage(box, heat.shape[1], heat.shape[2]), axis=(1, 2))
    # A map without heat is as far from the box as can be: without this the network learns to have none.
    share = (inside + _SMALL) / (ops.sum(heat, axis=(1, 2)) + _LEAST_HEAT)
    return ops.where(box[:, 2] > box[:, 0], -ops.log(share), 0.0)
