"""The networks: Xception with the head of the earlier systems, a tiny relative for tests, and MobileNetV2 as a teacher.

uint8 `[B, 299, 299, 3]` in, logits `[B, 4]` out; rescaling, and an average pooling where the network is to see
fewer pixels, are part of the graph, so that training and every runtime share them.
"""

from typing import Any

import keras

from brainmri.errors import DatasetError
from brainmri.imaging import SIDE
from brainmri.model.contract import LABELS

FEATURES, HIDDEN, LOGITS, BODY = "features", "hidden", "logits", "body"
NOVELTY_FEATURES = "novelty_features"
FEATURE_MAP = "feature_map"
_HIDDEN_RELU = "hidden_relu"
_MIDDLE = {"xception": "block13_sepconv1_act", "tiny_xception": "middle"}
"""Layer that takes in what the middle flow gives out; Xception's is the first activation of its exit flow."""

_PUBLISHED = {
    "xception": ("Xception", keras.applications.Xception),
    "mobilenet_v2": ("MobileNetV2", keras.applications.MobileNetV2),
}
"""Networks of keras.applications: the name that people know, and what builds one."""

BATCH_NORM_MOMENTUM = 0.95
"""Keras's 0.99 is for long runs: from random weights it leaves validation meaningless for a thousand steps, because
moving variances start at 1 and many settle below 0.01. Training itself uses the batch's statistics."""


def build_model(architecture: str, downsample: int = 1, weights: str = "none", seed: int = 0) -> keras.Model:
    """Builds a classifier with fresh or given weights.

    Args:
        architecture: `xception`, `tiny_xception` or `mobilenet_v2`.
        downsample: Side of the average pooling at the input; the network sees 299 // downsample pixels.
        weights: `none`, `imagenet`, or the path of a weights file of the body without top.
        seed: Of initialisation and dropout.

    Raises:
        DatasetError: The weights file does not exist or does not fit.
    """
    keras.utils.set_random_seed(seed)
    image = keras.Input((SIDE, SIDE, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="rescale")(image)
    if _channels_first():
        x = keras.layers.Permute((3, 1, 2), name="to_channels_first")(x)
    if downsample > 1:
        x = keras.layers.AveragePooling2D(downsample, dtype="float32", name="downsample")(x)
    x = _body(architecture, weights)(x)
    x = keras.layers.GlobalAveragePooling2D(dtype="float32", name=FEATURES)(x)
    x = keras.layers.Dropout(0.30, seed=seed, name="dropout_features")(x)
    x = keras.layers.Dense(128, activation="relu", name=HIDDEN)(x)
    x = keras.layers.Dropout(0.25, seed=seed + 1, name="dropout_hidden")(x)
    logits = keras.layers.Dense(len(LABELS), dtype="float32", name=LOGITS)(x)
    return keras.Model(image, logits, name=architecture)


def use_fast_layout() -> None:
    """Lets models that are built from now on compute in the layout that trains fastest on the chosen back end.

    Weights are the same in both layouts. Torch on two Zen 3 cores, Xception at 99 pixels, batches of 32: 12.1 images/s
    with channels last, 13.5 with fused normalisation, 16.1 with channels first as well; plain PyTorch reaches 14.9.
    """
    first = keras.backend.backend() == "torch"
    keras.config.set_image_data_format("channels_first" if first else "channels_last")


def use_serving_layout() -> None:
    """Lets models that are built from now on compute with channels last, as the artefacts do."""
    keras.config.set_image_data_format("channels_last")


def with_features(model: keras.Model) -> keras.Model:
    """Returns the model for serving: logits `[B, 4]`, features `[B, D]` and a feature map `[B, h, w, 128]`.

    Features are for the novelty detector: the mean over the picture of what the middle flow ends with. The layer that
    feeds the head has learnt to forget what does not tell the four labels apart (decision 0007).

    The feature map is for heat maps: the hidden layer, without its ReLU, applied to each cell of the last map instead
    of to the mean of all cells. The layer is linear there, so the mean over the cells is what its ReLU gets.

    Args:
        model: From `build_model`. The body's weights are shared, the hidden layer's are copied.
    """
    body, hidden = model.get_layer(BODY), model.get_layer(HIDDEN)
    stem = model.layers[model.layers.index(body) - 1].output
    both = keras.Model(body.input, [body.get_layer(_MIDDLE[model.name]).output, body.output], name=BODY)
    middle, last = both(stem)
    linear = keras.layers.Dense.from_config({**hidden.get_config(), "activation": "linear"})
    x = last
    for layer in model.layers[model.layers.index(body) + 1 :]:
        x = keras.layers.ReLU(name=_HIDDEN_RELU)(linear(x)) if layer is hidden else layer(x)
    features = keras.layers.GlobalAveragePooling2D(dtype="float32", name=NOVELTY_FEATURES)(middle)
    serving = keras.Model(model.input, {LOGITS: x, FEATURES: features, FEATURE_MAP: linear(last)}, name=model.name)
    linear.set_weights(hidden.get_weights())
    return serving


def set_trainable(model: keras.Model, part: str) -> None:
    """Trains everything (`all`) or freezes the convolutional body (`head`)."""
    model.get_layer(BODY).trainable = part == "all"


def _body(architecture: str, weights: str) -> keras.Model:
    body = _tiny_body() if architecture == "tiny_xception" else _published_body(architecture, weights)
    for layer in body.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
    return _with_fused_normalisation(body) if _channels_first() else body


def _with_fused_normalisation(body: keras.Model) -> keras.Model:
    # Only the torch back end trains with channels first.
    from training.fit.torch_normalisation import FusedBatchNormalization  # noqa: PLC0415

    def fuse(layer: keras.layers.Layer) -> keras.layers.Layer:
        kind = FusedBatchNormalization if isinstance(layer, keras.layers.BatchNormalization) else type(layer)
        return kind.from_config(layer.get_config())

    fused = keras.models.clone_model(body, clone_function=fuse)
    fused.set_weights(body.get_weights())
    return fused


def _channels_first() -> bool:
    return bool(keras.config.image_data_format() == "channels_first")


def _input_shape() -> tuple[int | None, ...]:
    return (3, None, None) if _channels_first() else (None, None, 3)


def _published_body(architecture: str, weights: str) -> keras.Model:
    name, build = _PUBLISHED[architecture]
    from_keras = "imagenet" if weights == "imagenet" else None
    body = build(include_top=False, weights=from_keras, input_shape=_input_shape(), name=BODY)
    if weights not in ("none", "imagenet"):
        try:
            body.load_weights(weights)
        except (OSError, ValueError) as error:
            raise DatasetError(f"The weights {weights!r} cannot be loaded into {name} without top: {error}") from error
    return body


def _tiny_body() -> keras.Model:
    """Entry, one residual separable block and exit, as in Xception, with a few channels."""
    layers = keras.layers

    def normalise(x: Any) -> Any:
        return layers.BatchNormalization(axis=1 if _channels_first() else -1)(x)

    image = keras.Input(_input_shape())
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(image)
    x = layers.Activation("relu")(normalise(x))
    residual = layers.Conv2D(16, 1, strides=2, padding="same", use_bias=False)(x)
    residual = normalise(residual)
    x = layers.SeparableConv2D(16, 3, padding="same", use_bias=False)(x)
    x = normalise(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = layers.Activation("relu", name="middle")(layers.add([x, residual]))
    x = layers.SeparableConv2D(32, 3, strides=1, padding="same", use_bias=False)(x)
    x = layers.Activation("relu")(normalise(x))
    return keras.Model(image, x, name=BODY)
