"""Folds rescaling and average pooling at the input into the first convolution: a uint8 pixel is then its operand.

Both are linear, so that the network computes the same. In int8 the serving network reads the image as it arrives: no
second rounding of averaged pixels, and one layer where there were four.
"""

from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13

_FOLDED = {"Convert", "Transpose", "Multiply", "Add", "AvgPool"}
"""What `training.fit.model` puts in front of the first convolution, as OpenVINO's converter writes it."""


def fold_input(network: openvino.Model) -> bool:
    """Replaces the first convolution by one of `kernel * pooling` pixels with a stride as much larger.

    Args:
        network: From `training.release.export.to_openvino`; changed in place.

    Returns:
        Whether it could be folded: not where something else, such as padding, lies in front of the convolution.
    """
    before, convolution = _up_to_the_convolution(network)
    if convolution is None or set(before) - _FOLDED or any(convolution.get_attributes()["pads_begin"]):
        return False
    kernel, strides, shift = _kernel(before, convolution)
    folded = opset13.convolution(
        before["Transpose"].output(0), opset13.constant(kernel), strides, [0, 0], [0, 0], [1, 1]
    )
    folded.set_friendly_name("stem")
    shifted = opset13.add(folded, opset13.constant(shift.reshape(1, -1, 1, 1)))
    for reader in list(convolution.output(0).get_target_inputs()):
        reader.replace_source_output(shifted.output(0))
    network.validate_nodes_and_infer_types()
    return True


def _up_to_the_convolution(network: openvino.Model) -> tuple[dict[str, Any], Any]:
    node: Any = network.inputs[0].get_node()
    before: dict[str, Any] = {}
    while True:
        readers = list(node.output(0).get_target_inputs())
        if len(readers) != 1:
            return before, None
        node = readers[0].get_node()
        if node.get_type_name() == "Convolution":
            return before, node
        before[node.get_type_name()] = node


def _kernel(before: dict[str, Any], convolution: Any) -> tuple[NDArray[np.float32], list[int], NDArray[np.float32]]:
    """Returns the kernel for uint8 pixels, its strides, and what the offset of the rescaling adds to each channel."""
    side = before["AvgPool"].get_attributes()["kernel"][0] if "AvgPool" in before else 1
    kernel = _constant(convolution).repeat(side, axis=2).repeat(side, axis=3) / side**2
    shift = _constant(before["Add"]).item() * kernel.sum(axis=(1, 2, 3))
    strides = [stride * side for stride in convolution.get_attributes()["strides"]]
    scaled = kernel * _constant(before["Multiply"]).item()
    return scaled.astype(np.float32), strides, shift.astype(np.float32)


def _constant(node: Any) -> NDArray[np.float64]:
    source = node.input_value(1).get_node()
    if source.get_type_name() == "Convert":
        # A saved network keeps its weights in float16.
        source = source.input_value(0).get_node()
    return np.asarray(source.get_data(), np.float64)
