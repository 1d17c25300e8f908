"""Gives published weights the statistics of our images in their batch normalisation, without changing the network."""

import keras
import numpy as np
from numpy.typing import NDArray

from training.fit.model import BODY


def adapt_normalisation(model: keras.Model, images: NDArray[np.uint8]) -> None:
    """Sets the moving statistics of the body to those of `images`, and scale and offset so that answers stay the same.

    Published statistics are those of photographs, or placeholders where normalisation was folded into the convolutions.
    Training, which normalises by the batch, would begin with another network than the one that was published; and
    folded weights without normalisation are lost in a hundred steps of a usual rate.

    Args:
        model: From `build_model`, with published weights.
        images: uint8 `[N, 299, 299, 3]`, of the train subset.
    """
    body = model.get_layer(BODY)
    layers = [layer for layer in body.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not layers:
        return
    stem = keras.Model(model.input, model.layers[model.layers.index(body) - 1].output)
    inputs = keras.Model(body.input, [layer.input for layer in layers]).predict_on_batch(stem.predict_on_batch(images))
    for layer, values in zip(layers, inputs, strict=True):
        channel = layer.axis % values.ndim
        others = tuple(axis for axis in range(values.ndim) if axis != channel)
        _adapt(layer, values.mean(axis=others, dtype=np.float64), values.var(axis=others, dtype=np.float64))


def _adapt(layer: keras.layers.BatchNormalization, mean: NDArray[np.float64], variance: NDArray[np.float64]) -> None:
    gamma, beta, old_mean, old_variance = (np.asarray(values, np.float64) for values in layer.get_weights())
    old_deviation = np.sqrt(old_variance + layer.epsilon)
    scale = gamma * np.sqrt(variance + layer.epsilon) / old_deviation
    layer.set_weights([scale, beta + gamma * (mean - old_mean) / old_deviation, mean, variance])
