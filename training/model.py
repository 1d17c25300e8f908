"""The networks: Xception with the head of the earlier systems, and a tiny relative for tests.

uint8 `[B, 299, 299, 3]` in, logits `[B, 4]` out; rescaling, and an average pooling where the network is to see
fewer pixels, are part of the graph, so that training and every runtime share them.
"""

import keras

from brainmri.contract import LABELS
from brainmri.errors import DatasetError
from brainmri.imaging import SIDE

FEATURES, LOGITS, BODY = "features", "logits", "body"

BATCH_NORM_MOMENTUM = 0.95
"""Keras's 0.99 is for long runs: from random weights it leaves validation meaningless for a thousand steps, because
moving variances start at 1 and many settle below 0.01. Training itself uses the batch's statistics."""


def build_model(architecture: str, downsample: int = 1, weights: str = "none", seed: int = 0) -> keras.Model:
    """Builds a classifier with fresh or given weights.

    Args:
        architecture: `xception` or `tiny_xception`.
        downsample: Side of the average pooling at the input; the network sees 299 // downsample pixels.
        weights: `none`, `imagenet`, or the path of a weights file of the body without top.
        seed: Of initialisation and dropout.

    Raises:
        DatasetError: The weights file does not exist or does not fit.
    """
    keras.utils.set_random_seed(seed)
    image = keras.Input((SIDE, SIDE, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="rescale")(image)
    if downsample > 1:
        x = keras.layers.AveragePooling2D(downsample, dtype="float32", name="downsample")(x)
    x = _body(architecture, weights)(x)
    x = keras.layers.GlobalAveragePooling2D(dtype="float32", name=FEATURES)(x)
    x = keras.layers.Dropout(0.30, seed=seed, name="dropout_features")(x)
    x = keras.layers.Dense(128, activation="relu", name="hidden")(x)
    x = keras.layers.Dropout(0.25, seed=seed + 1, name="dropout_hidden")(x)
    logits = keras.layers.Dense(len(LABELS), dtype="float32", name=LOGITS)(x)
    return keras.Model(image, logits, name=architecture)


def with_features(model: keras.Model) -> keras.Model:
    """Returns the model for serving: the same weights, outputs `logits` `[B, 4]` and `features` `[B, D]`."""
    outputs = {LOGITS: model.output, FEATURES: model.get_layer(FEATURES).output}
    return keras.Model(model.input, outputs, name=model.name)


def set_trainable(model: keras.Model, part: str) -> None:
    """Trains everything (`all`) or freezes the convolutional body (`head`)."""
    model.get_layer(BODY).trainable = part == "all"


def _body(architecture: str, weights: str) -> keras.Model:
    body = _tiny_body() if architecture == "tiny_xception" else _xception_body(weights)
    for layer in body.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
    return body


def _xception_body(weights: str) -> keras.Model:
    from_keras = "imagenet" if weights == "imagenet" else None
    body = keras.applications.Xception(include_top=False, weights=from_keras, input_shape=(None, None, 3), name=BODY)
    if weights not in ("none", "imagenet"):
        try:
            body.load_weights(weights)
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"The weights {weights!r} cannot be loaded into Xception without top: {error}"
            ) from error
    return body


def _tiny_body() -> keras.Model:
    """Entry, one residual separable block and exit, as in Xception, with a few channels."""
    layers = keras.layers
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(image)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    residual = layers.Conv2D(16, 1, strides=2, padding="same", use_bias=False)(x)
    residual = layers.BatchNormalization()(residual)
    x = layers.SeparableConv2D(16, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = layers.add([x, residual])
    x = layers.SeparableConv2D(32, 3, strides=1, padding="same", use_bias=False)(x)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    return keras.Model(image, x, name=BODY)
