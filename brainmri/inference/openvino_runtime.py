"""The default runtime on CPU: OpenVINO IR with the outputs `logits` and `features`."""

import queue
import threading
from collections.abc import Iterator
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

    The network is compiled twice when it has several streams: an inference that is alone runs on every thread, those
    side by side have a share of the threads each, because threads that split one image wait for each other. Decision
    0016 has the figures.

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
        artefact = bundle.named(variant.artefact)
        try:
            network = openvino.Core().read_model(bundle.file(artefact, ".xml"), bundle.file(artefact, ".bin"))
            shapes = {name: _shape(output) for output in network.outputs for name in output.names}
            require_outputs(bundle.contract, shapes)
            core, precision = openvino.Core(), variant.precision
            self._wide = _Requests(core.compile_model(network, "CPU", _options(precision, threads, 1)), 1)
            self._narrow = self._wide
            if streams > 1:
                shared = core.compile_model(network, "CPU", _options(precision, threads, streams))
                self._narrow = _Requests(shared, streams)
        except RuntimeError as error:
            raise InvalidBundle(
                f"OpenVINO cannot load {artefact.runtime} of {bundle.contract.tag}. Export the model again."
            ) from error
        self._running = 0
        self._counting = threading.Lock()
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
        with self._counted() as alone:
            return (self._wide if alone else self._narrow).infer(images)

    @contextmanager
    def _counted(self) -> Iterator[bool]:
        """Counts an inference while it runs; tells whether it began alone."""
        with self._counting:
            alone = not self._running
            self._running += 1
        try:
            yield alone
        finally:
            with self._counting:
                self._running -= 1


class _Requests:
    """A compiled network and its inference requests, each with memory of its own.

    Args:
        compiled: The network.
        count: Inferences at a time; further calls wait.
    """

    def __init__(self, compiled: Any, count: int) -> None:
        self._logits, self._features = compiled.output("logits"), compiled.output("features")
        # One that is in use is not in the queue.
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(count):
            self._idle.put(compiled.create_infer_request())

    def infer(self, images: NDArray[np.uint8]) -> Output:
        request = self._idle.get()
        try:
            # Shared, not copied: the caller waits, and nobody else writes into its images.
            result = request.infer({0: images}, share_inputs=True)
            return Output(np.array(result[self._logits], np.float32), np.array(result[self._features], np.float32))
        finally:
            self._idle.put(request)


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
