"""The convolutional bodies that a recipe can name; docs/architectures.md shows how to add one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import keras

from brainmri.errors import DatasetError
from brainmri.imaging import SIDE
from training.fit.classifier_head import FLATTEN_512, GAP_128

BODY = "body"
"""Name of every body."""

InputRange = Literal["minus_one_to_one", "zero_to_one", "less_the_mean"]

RESCALING: dict[InputRange, tuple[float, float | list[float]]] = {
    "minus_one_to_one": (1 / 127.5, -1.0),
    "zero_to_one": (1 / 255, 0.0),
    # Means of ImageNet in red, green and blue. Caffe's networks read blue first; slices are grey, so the order is kept.
    "less_the_mean": (1.0, [-123.68, -116.779, -103.939]),
}
"""Scale and offset that bring pixels from [0, 255] to a range."""


@dataclass(frozen=True)
class Architecture:
    """One kind of body, and what training, export and explanation need to know about it.

    Attributes:
        name: What recipes call it.
        title: What people call it, with its source.
        build: Takes the shape of the input, without the batch, and `imagenet` or None; returns the body without top.
            The body's output is the last feature map, which heat maps are made of.
        input_range: What the body expects of pixels.
        side: Pixels that it sees unless the recipe says otherwise, at most 299.
        features: Layer whose mean over the picture feeds the novelty detector: late, but not the last, which has
            forgotten what does not tell the labels apart.
        top_from: First layer that a phase with `trainable: top` trains.
        head: Used unless the recipe names another.
        bundle: Name of its bundles unless the recipe says otherwise; `brain_mri_NAME` if empty.
    """

    name: str
    title: str
    build: Callable[[tuple[int | None, ...], str | None], keras.Model]
    input_range: InputRange
    side: int
    features: str
    top_from: str
    head: str = GAP_128
    bundle: str = ""

    def __post_init__(self) -> None:
        """Refuses a side that the graph cannot give.

        Raises:
            DatasetError: It is below 32 or above 299.
        """
        if not 32 <= self.side <= SIDE:
            raise DatasetError(f"The side of {self.name} is {self.side}: choose one from 32 to {SIDE} pixels.")

    @property
    def bundle_name(self) -> str:
        """Returns the name of its bundles."""
        return self.bundle or f"brain_mri_{self.name}"


_known: dict[str, Architecture] = {}


def register(architecture: Architecture) -> None:
    """Makes an architecture known to recipes by its name.

    Raises:
        DatasetError: Another one has this name.
    """
    if _known.setdefault(architecture.name, architecture) is not architecture:
        raise DatasetError(f"There is an architecture {architecture.name!r} already. Choose another name.")


def registered(name: str) -> Architecture:
    """Returns what is registered as `name`.

    Raises:
        DatasetError: Nothing is; names what is known.
    """
    if name not in _known:
        raise DatasetError(f"There is no architecture {name!r}. Known: {', '.join(sorted(_known))}.")
    return _known[name]


def channels_first() -> bool:
    """Returns whether models that are built now compute with channels first."""
    return bool(keras.config.image_data_format() == "channels_first")


def _published(build: Any) -> Callable[[tuple[int | None, ...], str | None], keras.Model]:
    def body(shape: tuple[int | None, ...], weights: str | None) -> keras.Model:
        return build(include_top=False, weights=weights, input_shape=shape, name=BODY)

    return body


def _custom_cnn(shape: tuple[int | None, ...], weights: str | None) -> keras.Model:
    """Four blocks of convolution and pooling."""
    _require_no_weights("custom_cnn", weights)
    image = x = keras.Input(shape)
    for number, filters in enumerate((32, 64, 128, 256), 1):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"block{number}_conv")(x)
        x = keras.layers.MaxPooling2D(2, name=f"block{number}_pool")(x)
    return keras.Model(image, x, name=BODY)


def _tiny_xception(shape: tuple[int | None, ...], weights: str | None) -> keras.Model:
    """Entry, one residual separable block and exit, as in Xception, with a few channels."""
    _require_no_weights("tiny_xception", weights)
    layers = keras.layers

    def normalise(x: Any) -> Any:
        return layers.BatchNormalization(axis=1 if channels_first() else -1)(x)

    image = keras.Input(shape)
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(image)
    x = layers.Activation("relu")(normalise(x))
    residual = layers.Conv2D(16, 1, strides=2, padding="same", use_bias=False)(x)
    residual = normalise(residual)
    x = layers.SeparableConv2D(16, 3, padding="same", use_bias=False)(x)
    x = normalise(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = layers.Activation("relu", name="middle")(layers.add([x, residual]))
    x = layers.SeparableConv2D(32, 3, strides=1, padding="same", use_bias=False, name="exit")(x)
    x = layers.Activation("relu")(normalise(x))
    return keras.Model(image, x, name=BODY)


def _require_no_weights(name: str, weights: str | None) -> None:
    if weights is not None:
        raise DatasetError(f"Nobody published ImageNet weights of {name}. Train it with `weights: none`.")


_XCEPTION_BUNDLE = "brain_mri_xception"

for _each in (
    Architecture(
        name="xception",
        title="Xception (Chollet 2017)",
        build=_published(keras.applications.Xception),
        input_range="minus_one_to_one",
        side=SIDE,
        # The first activation of the exit flow takes in what the middle flow gives out.
        features="block13_sepconv1_act",
        top_from="block13_sepconv1",
        bundle=_XCEPTION_BUNDLE,
    ),
    Architecture(
        name="resnet50",
        title="ResNet50 (He 2016)",
        build=_published(keras.applications.ResNet50),
        input_range="less_the_mean",
        side=224,
        features="conv4_block6_out",
        top_from="conv5_block1_1_conv",
    ),
    Architecture(
        name="vgg16",
        title="VGG16 (Simonyan 2015)",
        build=_published(keras.applications.VGG16),
        input_range="less_the_mean",
        side=224,
        features="block4_pool",
        top_from="block5_conv1",
    ),
    Architecture(
        name="mobilenet_v2",
        title="MobileNetV2 (Sandler 2018)",
        build=_published(keras.applications.MobileNetV2),
        input_range="minus_one_to_one",
        side=224,
        features="block_13_expand_relu",
        top_from="block_16_expand",
    ),
    Architecture(
        name="custom_cnn",
        title="A CNN of four blocks",
        build=_custom_cnn,
        input_range="zero_to_one",
        side=128,
        features="block3_pool",
        top_from="block4_conv",
        head=FLATTEN_512,
    ),
    Architecture(
        name="tiny_xception",
        title="A tiny Xception for tests",
        build=_tiny_xception,
        input_range="minus_one_to_one",
        side=SIDE,
        features="middle",
        top_from="exit",
        bundle=_XCEPTION_BUNDLE,
    ),
):
    register(_each)
