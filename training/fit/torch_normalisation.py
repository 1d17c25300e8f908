"""Batch normalisation as one operation of PyTorch; Keras composes it from elementary ones.

Imported only when Keras runs on torch.
"""

from typing import Any

import keras
import torch


class FusedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]  # Keras has no types
    """`keras.layers.BatchNormalization` for channels first, with `torch.nn.functional.batch_norm` inside.

    The moving variance takes the unbiased estimate, as PyTorch does; Keras takes the biased one.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalises `[B, C, H, W]`; while training, by the batch's own statistics, which it also keeps."""
        del mask
        return torch.nn.functional.batch_norm(
            inputs,
            self.moving_mean.value,
            self.moving_variance.value,
            self.gamma.value,
            self.beta.value,
            training=bool(training) and self.trainable,
            momentum=1 - self.momentum,
            eps=self.epsilon,
        )
