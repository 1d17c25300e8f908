"""What a bundle costs to keep and to run: size, parameters, floating-point operations."""

from dataclasses import dataclass
from math import prod
from typing import Any

import openvino

from brainmri.imaging import SIDE
from brainmri.model.bundle import Bundle
from training.release.outputs import SERVING, Outputs

_WITH_KERNELS = ("Convolution", "GroupConvolution", "MatMul")


@dataclass(frozen=True)
class Cost:
    """What the served artefact of a bundle costs.

    Attributes:
        megabytes: Files that serving reads: the artefact, and the classifier where there is one.
        parameters: Numbers in the kernels of convolutions and products; without biases.
        gflop: Multiplications and additions of these for one image, in 10^9; a classifier's are left out.
    """

    megabytes: float
    parameters: int
    gflop: float


def cost(bundle: Bundle) -> Cost:
    """Returns what the served artefact of a bundle costs.

    Raises:
        RuntimeUnavailable: The bundle carries none for OpenVINO.
    """
    artefact = Outputs(bundle, threads=1).artefact(SERVING)
    classifier = bundle.contract.classifier
    size = artefact.bytes + (0 if classifier is None else classifier.bytes)
    network = openvino.Core().read_model(bundle.file(artefact, ".xml"))
    network.reshape([1, SIDE, SIDE, 3])
    layers = [node for node in network.get_ordered_ops() if node.get_type_name() in _WITH_KERNELS]
    return Cost(
        megabytes=size / 1e6,
        parameters=sum(prod(layer.input(1).get_shape()) for layer in layers),
        gflop=sum(map(_operations, layers)) / 1e9,
    )


def _operations(layer: Any) -> int:
    """Returns the multiplications and additions of a layer: two for each number in its kernel and place of it."""
    kernel: list[int] = list(layer.input(1).get_shape())
    out: list[int] = list(layer.output(0).get_shape())
    if layer.get_type_name() == "MatMul":
        return 2 * prod(kernel) * (prod(out) // out[-1])
    return 2 * prod(kernel) * prod(out[2:])
