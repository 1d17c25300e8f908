"""The default runtime on CPU: OpenVINO IR with the outputs `logits` and `features`."""

import math
import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from brainmri.bundle import Bundle
from brainmri.errors import InvalidBundle
from brainmri.inference.network_shape import require_outputs
from brainmri.inference.runtime import Output, RuntimeInfo
from brainmri.inference.variants import Variant, not_installed

_COMPANY_S = 0.1
"""So long after two inferences ran side by side, none counts as alone: another will begin before it has ended."""

_SAME_ROUNDING = {"SNIPPETS_MODE": "DISABLE"}
"""Or else OpenVINO fuses some steps where shapes are fixed, and the logits of one image in 200 differ in the third
decimal. The key is OpenVINO's own (`intel_cpu::snippets_mode`); a test compares the bits."""

_Queue: TypeAlias = queue.SimpleQueue[Any]


class OpenVINORuntime:
    """Runs an IR artefact; as many inferences at a time as it has streams, further calls wait.

    Streams share the threads among them, which is best when all are busy and slowest for one that is alone. With more
    than one stream the network is therefore compiled several times (decisions 0016 and 0018); all give the same
    numbers, to the last bit.

    Args:
        bundle: The verified bundle, with an artefact of one `.xml` and one `.bin` file.
        variant: The precision to compute in.
        threads: CPU threads, shared among the streams.
        streams: Inferences at a time, at least 1.
        full_batch: Images in a full batch, for which streams get a network of their own; 0 does without.

    Raises:
        RuntimeUnavailable: The package `openvino` is not installed.
        InvalidBundle: The IR cannot be read or lacks an output of the contract's shape.
    """

    def __init__(self, bundle: Bundle, variant: Variant, threads: int, streams: int = 1, full_batch: int = 0) -> None:
        try:
            import openvino  # noqa: PLC0415 -- only the chosen runtime is imported
        except ImportError as error:
            raise not_installed("openvino") from error
        artefact, core = bundle.named(variant.artefact), openvino.Core()
        try:
            network = core.read_model(bundle.file(artefact, ".xml"), bundle.file(artefact, ".bin"))
            shapes = {name: _shape(output) for output in network.outputs for name in output.names}
            require_outputs(bundle.contract, shapes)
            wanted: list[tuple[Any, int, dict[str, str]]] = [(network, 1, {})]
            if streams > 1:
                wanted.append((network, streams, {}))
            if streams > 1 and full_batch > 1:
                fixed = network.clone()
                fixed.reshape([full_batch, *fixed.input(0).partial_shape[1:]])
                wanted.append((fixed, streams, _SAME_ROUNDING))

            def compiled(model: Any, count: int, more: dict[str, str]) -> _Queue:
                options = _options(variant.precision, threads, count) | more
                return _requests(core.compile_model(model, "CPU", options), count)

            with ThreadPoolExecutor(len(wanted)) as compiling:
                alone, *shared = compiling.map(compiled, *zip(*wanted, strict=True))
        except RuntimeError as error:
            raise InvalidBundle(
                f"OpenVINO cannot load {artefact.runtime} of {bundle.contract.tag}. Export the model again."
            ) from error
        self._requests = _Requests(alone, shared, full_batch)
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
        with self._requests.borrow(len(images)) as request:
            # Shared, not copied: the caller waits, and nobody else writes into its images.
            result = request.infer({0: images}, share_inputs=True)
            return Output(np.array(result["logits"], np.float32), np.array(result["features"], np.float32))


class _Requests:
    """The memory of inferences, lent to whoever runs one.

    Args:
        alone: One of the network with all threads, for whoever is alone.
        shared: One for each stream: for batches of any size and, if there are two queues, for full ones.
        full_batch: Images in a full batch.
    """

    def __init__(self, alone: _Queue, shared: list[_Queue], full_batch: int) -> None:
        self._alone = alone
        self._shared = shared
        self._full_batch = full_batch
        self._lock = threading.Lock()
        self._users = 0
        self._side_by_side = -math.inf

    @contextmanager
    def borrow(self, images: int) -> Iterator[Any]:
        """Lends one for so many images; waits until one is free."""
        with self._lock:
            free = self._choose(images, time.monotonic())
            self._users += 1
        request = free.get()
        try:
            yield request
        finally:
            free.put(request)
            with self._lock:
                self._users -= 1
                if self._users:
                    self._side_by_side = time.monotonic()

    def _choose(self, images: int, now: float) -> _Queue:
        if not self._shared:
            return self._alone
        if self._users:
            self._side_by_side = now
        if now - self._side_by_side > _COMPANY_S:
            return self._alone
        return self._shared[-1 if images == self._full_batch else 0]


def _requests(network: Any, count: int) -> _Queue:
    free: _Queue = queue.SimpleQueue()
    for _ in range(count):
        free.put(network.create_infer_request())
    return free


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
