"""Opens the runtime that the bundle and the machine allow."""

from brainmri.model.bundle import Bundle
from brainmri.model.options import ModelOptions
from brainmri.model.runtimes.protocol import Runtime
from brainmri.model.variants import choose


def open_runtime(bundle: Bundle, options: ModelOptions = ModelOptions()) -> Runtime:  # noqa: B008 -- immutable
    """Loads the network of a verified bundle.

    Args:
        bundle: Where the artefacts are.
        options: Which runtime, and its threads and streams.

    Raises:
        RuntimeUnavailable: The bundle has no artefact for the runtime, or its package is not installed.
        InvalidBundle: The artefact does not hold a network of the contract's shape.
    """
    network = _open_network(bundle, options)
    if bundle.contract.classifier is None:
        return network
    from brainmri.model.runtimes.onnx import ClassifiedRuntime  # noqa: PLC0415

    return ClassifiedRuntime(network, bundle, options)


def _open_network(bundle: Bundle, options: ModelOptions) -> Runtime:
    variant = choose(bundle, options.runtime)
    # Imported here so that serving needs the chosen framework only.
    if variant.family == "openvino":
        from brainmri.model.runtimes.openvino import OpenVINORuntime  # noqa: PLC0415

        return OpenVINORuntime(bundle, variant, options)
    if variant.family == "onnx":
        from brainmri.model.runtimes.onnx import ONNXRuntime  # noqa: PLC0415

        return ONNXRuntime(bundle, variant, options)
    if variant.family == "litert":
        from brainmri.model.runtimes.litert import LiteRTRuntime  # noqa: PLC0415

        return LiteRTRuntime(bundle, variant, options)
    from brainmri.model.runtimes.tensorflow import TensorFlowRuntime  # noqa: PLC0415

    return TensorFlowRuntime(bundle, variant, options)
