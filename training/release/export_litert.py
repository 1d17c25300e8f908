"""From the Keras network to TFLite files for LiteRT, with a fixed batch of one."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tensorflow
from numpy.typing import NDArray

MODEL = "model.tflite"
Precision = Literal["f32", "dynamic", "int8"]


def write_litert(model: keras.Model, precision: Precision, images: NDArray[np.uint8], folder: Path) -> None:
    """Writes `model.tflite`, whose signature takes one `image` and gives `logits` and `features`.

    Args:
        model: The network.
        precision: `dynamic` has int8 weights and measures activations as it runs; `int8` has fixed ranges for both.
        images: Training images `[N, 299, 299, 3]` that tell the ranges of `int8`.
        folder: Receives the file.
    """
    with tempfile.TemporaryDirectory() as scratch:
        _save_for_one_image(model, scratch)
        converter = tensorflow.lite.TFLiteConverter.from_saved_model(scratch)
        if precision != "f32":
            converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
        if precision == "int8":
            converter.representative_dataset = lambda: _inputs(images)
        (folder / MODEL).write_bytes(converter.convert())


def _save_for_one_image(model: keras.Model, folder: str) -> None:
    signature = [tensorflow.TensorSpec((1, *model.input_shape[1:]), tensorflow.uint8, name="image")]
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", lambda image: model(image, training=False), input_signature=signature)
    archive.write_out(folder, verbose=False)


def _inputs(images: NDArray[np.uint8]) -> Iterator[list[NDArray[np.uint8]]]:
    for image in images:
        yield [image[np.newaxis]]
