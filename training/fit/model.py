"""The networks: one of the registered bodies with one of the heads.

uint8 `[B, 299, 299, 3]` in, logits `[B, C]` out; rescaling, and a reduction where the network is to see fewer pixels,
are part of the graph, so that training and every runtime share them.
"""

from typing import Any

import keras

from brainmri.errors import DatasetError
from brainmri.imaging import SIDE
from brainmri.model.contract import LABELS
from training.fit.architectures import BODY, RESCALING, Architecture, channels_first, registered
from training.fit.classifier_head import FEATURES, HEADS, HIDDEN, LOGITS

__all__ = ["BODY", "FEATURES", "HIDDEN", "LOGITS"]

NOVELTY_FEATURES = "novelty_features"
FEATURE_MAP = "feature_map"
_HIDDEN_RELU = "hidden_relu"

BATCH_NORM_MOMENTUM = 0.95
"""Keras's 0.99 is for long runs: from random weights it leaves validation meaningless for a thousand steps, because
moving variances start at 1 and many settle below 0.01. Training itself uses the batch's statistics."""


def build_model(
    architecture: str,
    downsample: int = 1,
    weights: str = "none",
    seed: int = 0,
    *,
    head: str = "",
    side: int = 0,
    classes: int = len(LABELS),
) -> keras.Model:
    """Builds a classifier with fresh or given weights.

    Args:
        architecture: Name of a registered one.
        downsample: Side of the average pooling at the input; the network sees 299 // downsample pixels.
        weights: `none`, `imagenet`, or the path of a weights file of the body without top.
        seed: Of initialisation and dropout.
        head: One of `HEADS`; the architecture's own if empty.
        side: Pixels that the network sees, instead of `downsample`; with neither, the architecture's own.
        classes: Number of labels.

    Raises:
        DatasetError: No such architecture or head, or the weights file does not exist or does not fit.
    """
    kind = registered(architecture)
    keras.utils.set_random_seed(seed)
    image = keras.Input((SIDE, SIDE, 3), dtype="uint8", name="image")
    scale, offset = RESCALING[kind.input_range]
    x = keras.layers.Rescaling(scale, offset=offset, dtype="float32", name="rescale")(image)
    if channels_first():
        x = keras.layers.Permute((3, 1, 2), name="to_channels_first")(x)
    x = _reduced(x, network_side(kind, downsample, side))
    x = _body(kind, weights)(x)
    return keras.Model(image, HEADS[head or kind.head](x, classes, seed), name=architecture)


def network_side(kind: Architecture, downsample: int = 1, side: int = 0) -> int:
    """Returns the pixels that a network sees; see `build_model`."""
    return side or (SIDE // downsample if downsample > 1 else kind.side)


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
    """Returns the model for serving: logits `[B, C]`, features `[B, D]` and, where it has one, a map `[B, h, w, M]`.

    Features are for the novelty detector: the mean over the picture of a late layer, such as what Xception's middle
    flow ends with. The layer that feeds the head has learnt to forget what does not tell the labels apart (decision
    0007).

    The feature map is for heat maps: the hidden layer, without its ReLU, applied to each cell of the last map instead
    of to the mean of all cells. The layer is linear there, so the mean over the cells is what its ReLU gets. Heads that
    take the maximum or flatten have none.

    Args:
        model: From `build_model`. The body's weights are shared; the hidden layer's are copied where there is a map.
    """
    body, hidden = model.get_layer(BODY), model.get_layer(HIDDEN)
    stem = model.layers[model.layers.index(body) - 1].output
    late = body.get_layer(registered(model.name).features)
    middle, last = keras.Model(body.input, [late.output, body.output], name=BODY)(stem)
    linear = keras.layers.Dense.from_config({**hidden.get_config(), "activation": "linear"})
    explains = isinstance(model.get_layer(FEATURES), keras.layers.GlobalAveragePooling2D)
    x = last
    for layer in model.layers[model.layers.index(body) + 1 :]:
        is_split = explains and layer is hidden
        x = keras.layers.ReLU(name=_HIDDEN_RELU)(linear(x)) if is_split else layer(x)
    features = keras.layers.GlobalAveragePooling2D(dtype="float32", name=NOVELTY_FEATURES)(middle)
    outputs = {LOGITS: x, FEATURES: features}
    if explains:
        outputs[FEATURE_MAP] = linear(last)
    serving = keras.Model(model.input, outputs, name=model.name)
    if explains:
        linear.set_weights(hidden.get_weights())
    return serving


def set_trainable(model: keras.Model, part: str) -> None:
    """Trains everything (`all`), the head alone (`head`), or the head and the last layers of the body (`top`)."""
    body = model.get_layer(BODY)
    body.trainable = part != "head"
    if part != "top":
        return
    first = body.layers.index(body.get_layer(registered(model.name).top_from))
    for layer in body.layers[:first]:
        layer.trainable = False


def _reduced(image: Any, side: int) -> Any:
    """Returns an image of 299 pixels reduced to `side`: the mean of whole pixels, then bilinear for what is left."""
    pooling = SIDE // side
    if pooling > 1:
        image = keras.layers.AveragePooling2D(pooling, dtype="float32", name="downsample")(image)
    if SIDE // pooling != side:
        image = keras.layers.Resizing(side, side, dtype="float32", name="resize")(image)
    return image


def _body(kind: Architecture, weights: str) -> keras.Model:
    shape = (3, None, None) if channels_first() else (None, None, 3)
    body = kind.build(shape, "imagenet" if weights == "imagenet" else None)
    if body.name != BODY:
        raise DatasetError(f"The body of {kind.name} is called {body.name!r}: give it the name {BODY!r}.")
    if weights not in ("none", "imagenet"):
        try:
            body.load_weights(weights)
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"The weights {weights!r} cannot be loaded into the body of {kind.name}: {error}"
            ) from error
    for layer in body.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
    return _with_fused_normalisation(body) if channels_first() else body


def _with_fused_normalisation(body: keras.Model) -> keras.Model:
    # Only the torch back end trains with channels first.
    from training.fit.torch_normalisation import FusedBatchNormalization  # noqa: PLC0415

    def fuse(layer: keras.layers.Layer) -> keras.layers.Layer:
        kind = FusedBatchNormalization if isinstance(layer, keras.layers.BatchNormalization) else type(layer)
        return kind.from_config(layer.get_config())

    fused = keras.models.clone_model(body, clone_function=fuse)
    fused.set_weights(body.get_weights())
    return fused
