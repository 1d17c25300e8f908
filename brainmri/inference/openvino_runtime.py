"""The default runtime on CPU: OpenVINO IR with the outputs `logits` and `features`."""

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmri.bundle import Bundle
from brainmri.errors import InvalidBundle
from brainmri.inference.network_shape import require_outputs
from brainmri.inference.runtime import Output, RuntimeInfo
from brainmri.inference.variants import Variant, not_installed


class OpenVINORuntime:
    """Runs an IR artefact; as many inferences at a time as it has streams, further calls wait.

    Streams share the threads among them, which is best when all are busy and slowest for one that is alone. With more
    than one stream the network is therefore compiled a second time, with all threads for whoever is alone.

    Args:
        bundle: The verified bundle, with an artefact of one `.xml` and one `.bin` file.
        variant: The precision to compute in.
        threads: CPU threads, shared among the streams.
        streams: Inferences at a time, at least 1.

    Raises:
        RuntimeUnavailable: The package `openvino` is not installed.
        InvalidBundle: The IR cannot be read or lacks an output of the contract's shape.
    """

    def __init__(self, bundle: Bundle, variant: Variant, threads: int, streams: int = 1) -> None:
        try:
            import openvino  # noqa: PLC0415 -- only the chosen runtime is imported
        except ImportError as error:
            raise not_installed("openvino") from error
        artefact, core = bundle.named(variant.artefact), openvino.Core()
        try:
            network = core.read_model(bundle.file(artefact, ".xml"), bundle.file(artefact, ".bin"))
            shapes = {name: _shape(output) for output in network.outputs for name in output.names}
            require_outputs(bundle.contract, shapes)
            options = [_options(variant.precision, threads, count) for count in sorted({1, streams})]
            with ThreadPoolExecutor(len(options)) as compiling:
                networks = list(compiling.map(lambda chosen: core.compile_model(network, "CPU", chosen), options))
        except RuntimeError as error:
            raise InvalidBundle(
                f"OpenVINO cannot load {artefact.runtime} of {bundle.contract.tag}. Export the model again."
            ) from error
        self._requests = _Requests(networks[0].create_infer_request(), networks[-1], streams)
        self._info = RuntimeInfo(
            variant.name, variant.precision, threads, streams=streams, version=openvino.__version__.partition("-")[0]
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
        with self._requests.borrow() as request:
            # Shared, not copied: the caller waits, and nobody else writes into its images.
            result = request.infer({0: images}, share_inputs=True)
            return Output(np.array(result["logits"], np.float32), np.array(result["features"], np.float32))


class _Requests:
    """The memory of inferences: one with all threads, for whoever is alone, and one for each stream.

    Args:
        alone: Of the network with one stream.
        network: The compiled network with `streams` streams.
        streams: How many.
    """

    def __init__(self, alone: Any, network: Any, streams: int) -> None:
        self._alone = alone
        self._lock = threading.Lock()
        self._users = 0
        self._alone_is_free = True
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # With one stream the one for whoever is alone is the only one.
        for _ in range(streams if streams > 1 else 0):
            self._free.put(network.create_infer_request())
        if streams == 1:
            self._free.put(alone)
            self._alone_is_free = False

    @contextmanager
    def borrow(self) -> Iterator[Any]:
        """Lends one; waits until one is free."""
        with self._lock:
            is_alone = self._users == 0 and self._alone_is_free
            self._users += 1
            if is_alone:
                self._alone_is_free = False
        request = self._alone if is_alone else self._free.get()
        try:
            yield request
        finally:
            with self._lock:
                self._users -= 1
                if is_alone:
                    self._alone_is_free = True
            if not is_alone:
                self._free.put(request)


def _shape(output: Any) -> list[int | None]:
    shape = output.partial_shape
    if not shape.rank.is_static:
        return []
    return [axis.get_length() if axis.is_static else None for axis in shape]


def _options(precision: str, threads: int, streams: int) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        # By default CPUs with bfloat16 compute in it: the same image would get other probabilities elsewhere.
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
