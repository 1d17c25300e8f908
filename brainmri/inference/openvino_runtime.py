"""The default runtime on CPU: OpenVINO IR with the outputs `logits` and `features`."""

import queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmri.bundle import Bundle
from brainmri.contract import Artefact
from brainmri.errors import InvalidBundle
from brainmri.inference.runtime import Output, RuntimeInfo, not_installed


class OpenVINORuntime:
    """Runs an IR artefact; as many inferences at a time as it has streams, further calls wait.

    Args:
        bundle: The verified bundle.
        artefact: Its artefact of one `.xml` and one `.bin` file.
        threads: CPU threads, shared among the streams.
        streams: Inferences at a time, at least 1.

    Raises:
        RuntimeUnavailable: The package `openvino` is not installed.
        InvalidBundle: The IR cannot be read or lacks an output of the contract's shape.
    """

    def __init__(self, bundle: Bundle, artefact: Artefact, threads: int, streams: int = 1) -> None:
        try:
            import openvino  # noqa: PLC0415 -- only the chosen runtime is imported
        except ImportError as error:
            raise not_installed("openvino") from error
        try:
            network = openvino.Core().read_model(bundle.file(artefact, ".xml"), bundle.file(artefact, ".bin"))
            self._check(network, bundle)
            compiled = openvino.Core().compile_model(network, "CPU", _options(threads, streams))
        except RuntimeError as error:
            raise InvalidBundle(
                f"OpenVINO cannot load {artefact.runtime} of {bundle.contract.tag}. Export the model again."
            ) from error
        # Each has its own memory; one that is in use is not in the queue.
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(streams):
            self._requests.put(compiled.create_infer_request())
        self._logits, self._features = compiled.output("logits"), compiled.output("features")
        self._info = RuntimeInfo(artefact.runtime, artefact.runtime.partition("-")[2], threads)

    @property
    def info(self) -> RuntimeInfo:
        """Which runtime answers."""
        return self._info

    def infer(self, images: NDArray[np.uint8]) -> Output:
        """Runs the network.

        Args:
            images: uint8 `[B, 299, 299, 3]`, values in [0, 255].
        """
        request = self._requests.get()
        try:
            # Shared, not copied: the caller waits, and nobody else writes into its images.
            result = request.infer({0: images}, share_inputs=True)
            return Output(np.array(result[self._logits], np.float32), np.array(result[self._features], np.float32))
        finally:
            self._requests.put(request)

    @staticmethod
    def _check(network: Any, bundle: Bundle) -> None:
        contract = bundle.contract
        expected = {"logits": len(contract.labels), "features": contract.feature_size}
        for output in network.outputs:
            for name in output.names & expected.keys():
                shape = output.partial_shape
                if shape.rank.get_length() == 2 and shape[1].is_static and shape[1].get_length() == expected[name]:
                    del expected[name]
        if expected:
            raise InvalidBundle(f"The network of {contract.tag} lacks outputs of shape [B, n]: {expected}.")


def _options(threads: int, streams: int) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        # By default CPUs with bfloat16 compute in it: the same image would get other probabilities elsewhere.
        "INFERENCE_PRECISION_HINT": "f32",
    }
