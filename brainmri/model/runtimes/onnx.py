"""ONNX Runtime, on the CPU or on an NVIDIA GPU where `onnxruntime-gpu` is installed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmri.errors import InvalidBundle
from brainmri.model.bundle import Bundle
from brainmri.model.options import ModelOptions
from brainmri.model.runtimes.network_shape import output_names, require_outputs
from brainmri.model.runtimes.protocol import Output, Runtime, RuntimeInfo
from brainmri.model.variants import Variant, has_cuda, not_installed

_LEAST_PROBABILITY = 1e-6
"""Below this a probability counts as this much: a forest gives zeros, whose logarithm is not finite."""


class ONNXRuntime:
    """Runs an ONNX artefact: `model.onnx` with the input `image`; outputs `logits`, `features`, `feature_map`.

    Args:
        bundle: The verified bundle, with an artefact of one `.onnx` file.
        variant: The precision, as stored in the artefact.
        options: CPU threads of one inference; streams, the inferences at a time that callers intend (the session takes
            any number).

    Raises:
        RuntimeUnavailable: The package `onnxruntime` is not installed.
        InvalidBundle: The file cannot be read or lacks an output of the contract's shape.
    """

    def __init__(self, bundle: Bundle, variant: Variant, options: ModelOptions) -> None:
        artefact = bundle.named(variant.artefact)
        what = f"{artefact.runtime} of {bundle.contract.tag}"
        self._session, version = open_session(bundle.file(artefact, ".onnx"), what, options, _providers())
        require_outputs(bundle.contract, {output.name: output.shape for output in self._session.get_outputs()})
        self._input = self._session.get_inputs()[0].name
        self._outputs = output_names(bundle.contract)
        self._contract = bundle.contract
        self._info = RuntimeInfo(
            variant.name,
            variant.precision,
            options.threads,
            streams=options.streams,
            version=version,
            device="cuda" if "CUDAExecutionProvider" in self._session.get_providers() else "cpu",
        )

    @property
    def info(self) -> RuntimeInfo:
        """Which runtime answers."""
        return self._info

    def infer(self, images: NDArray[np.uint8]) -> Output:
        """Runs the network.

        Args:
            images: uint8 `[B, 299, 299, 3]`, values in [0, 255].
        """
        arrays = self._session.run(self._outputs, {self._input: images})
        return Output.of(dict(zip(self._outputs, arrays, strict=True)), self._contract)


class ClassifiedRuntime:
    """A network whose features are judged by the bundle's classifier, which is ONNX, instead of by its own head.

    Args:
        network: The loaded network.
        bundle: The verified bundle, with a classifier in its contract.
        options: CPU threads.

    Raises:
        RuntimeUnavailable: The package `onnxruntime` is not installed.
        InvalidBundle: The file cannot be read, or takes or gives something else than the contract says.
    """

    def __init__(self, network: Runtime, bundle: Bundle, options: ModelOptions) -> None:
        contract, classifier = bundle.contract, bundle.contract.classifier
        if classifier is None:
            raise InvalidBundle(f"The contract of {contract.tag} names no classifier.")
        what = f"{classifier.file} of {contract.tag}"
        self._session, _ = open_session(bundle.folder / classifier.file, what, options, ["CPUExecutionProvider"])
        ends = (*self._session.get_inputs(), *self._session.get_outputs())
        shapes = {end.name: list(end.shape)[1:] for end in ends}
        wanted = {"features": [contract.feature_size], "probabilities": [len(contract.labels)]}
        if any(shapes.get(name) != shape for name, shape in wanted.items()):
            raise InvalidBundle(f"{what} takes and gives {shapes}, not {wanted}. Make the bundle again.")
        self._network = network

    @property
    def info(self) -> RuntimeInfo:
        """Which runtime answers: that of the network."""
        return self._network.info

    def infer(self, images: NDArray[np.uint8]) -> Output:
        """Runs the network, then the classifier; logits are the logarithms of its probabilities.

        Args:
            images: uint8 `[B, 299, 299, 3]`, values in [0, 255].
        """
        features = self._network.infer(images).features
        (likely,) = self._session.run(["probabilities"], {"features": features})
        return Output(np.log(np.maximum(likely, _LEAST_PROBABILITY)).astype(np.float32), features)


def open_session(path: Path, what: str, options: ModelOptions, providers: Sequence[str]) -> tuple[Any, str]:
    """Returns a session of ONNX Runtime for a verified file, and the version of the package.

    Args:
        path: The ONNX file.
        what: Names it in messages.
        options: CPU threads and streams.
        providers: In the order in which they are preferred.

    Raises:
        RuntimeUnavailable: The package `onnxruntime` is not installed.
        InvalidBundle: The file cannot be read.
    """
    try:
        import onnxruntime  # noqa: PLC0415 -- only the chosen runtime is imported
    except ImportError as error:
        raise not_installed("onnx") from error
    try:
        session = onnxruntime.InferenceSession(path, _session_options(onnxruntime, options), providers=providers)
    # Its exceptions share no base of their own, and have no public names.
    except Exception as error:
        raise InvalidBundle(f"ONNX Runtime cannot load {what}. Export the model again.") from error
    return session, onnxruntime.__version__


def _session_options(onnxruntime: Any, options: ModelOptions) -> Any:
    session = onnxruntime.SessionOptions()
    session.intra_op_num_threads = options.threads
    session.inter_op_num_threads = 1
    # Threads that spin for work between two inferences would take the CPU from decoding and from other streams.
    session.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.streams == 1 else "0")
    session.log_severity_level = 3  # errors; the rest goes to standard error past our logs
    return session


def _providers() -> list[str]:
    return [*(["CUDAExecutionProvider"] if has_cuda() else []), "CPUExecutionProvider"]
