"""From the Keras network to ONNX, in float32 and in int8 (QDQ, quantised by ONNX Runtime itself)."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow
import tf2onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

MODEL = "model.onnx"
_INPUT = "image"
_OPSET = 18


def write_onnx(model: keras.Model, folder: Path) -> None:
    """Writes `model.onnx`: uint8 `image` `[B, 299, 299, 3]` in; `logits` and `features` out, float32."""
    signature = [tensorflow.TensorSpec((None, *model.input_shape[1:]), tensorflow.uint8, name=_INPUT)]
    function = tensorflow.function(lambda image: model(image, training=False), input_signature=signature)
    tf2onnx.convert.from_function(function, signature, opset=_OPSET, output_path=str(folder / MODEL))


def write_onnx_int8(network: Path, images: NDArray[np.uint8], folder: Path) -> None:
    """Quantises weights (by channel) and activations to int8 and writes `model.onnx`.

    Args:
        network: The float32 file.
        images: Training images `[N, 299, 299, 3]` that tell the ranges.
        folder: Receives the file.
    """
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / MODEL
        # Folds normalisations into convolutions, or each would be quantised by itself.
        quant_pre_process(network, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            folder / MODEL,
            _Images(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


class _Images(CalibrationDataReader):  # type: ignore[misc]
    """Hands out one image at a time, as ONNX Runtime's quantiser asks for them."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._images: Iterator[NDArray[np.uint8]] = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Returns the next input, or None after the last."""
        image = next(self._images, None)
        return None if image is None else {_INPUT: image[np.newaxis]}
