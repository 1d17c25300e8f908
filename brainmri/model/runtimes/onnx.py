"""ONNX Runtime, on the CPU or on an NVIDIA GPU where `onnxruntime-gpu` is installed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmri.errors import InvalidBundle
from brainmri.model.bundle import Bundle
from brainmri.model.options import ModelOptions
from brainmri.model.runtimes.network_shape import output_names, require_outputs
from brainmri.model.runtimes.protocol import Output, RuntimeInfo
from brainmri.model.variants import Variant, has_cuda, not_installed


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
        try:
            import onnxruntime  # noqa: PLC0415 -- only the chosen runtime is imported
        except ImportError as error:
            raise not_installed("onnx") from error
        artefact = bundle.named(variant.artefact)
        try:
            self._session = onnxruntime.InferenceSession(
                bundle.file(artefact, ".onnx"), _session_options(onnxruntime, options), providers=_providers()
            )
        # Its exceptions share no base of their own, and have no public names.
        except Exception as error:
            raise InvalidBundle(
                f"ONNX Runtime cannot load {artefact.runtime} of {bundle.contract.tag}. Export the model again."
            ) from error
        require_outputs(bundle.contract, {output.name: output.shape for output in self._session.get_outputs()})
        self._input = self._session.get_inputs()[0].name
        self._outputs = output_names(bundle.contract)
        self._contract = bundle.contract
        self._info = RuntimeInfo(
            variant.name,
            variant.precision,
            options.threads,
            streams=options.streams,
            version=onnxruntime.__version__,
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
