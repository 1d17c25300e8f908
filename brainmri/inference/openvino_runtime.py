"""The default runtime on CPU: OpenVINO IR with the outputs `logits` and `features`."""

import math
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
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

_ANY = 0
"""Stands for any number of images in a batch."""

_Queue: TypeAlias = queue.SimpleQueue[Any]


class OpenVINORuntime:
    """Runs an IR artefact; as many inferences at a time as it has streams, further calls wait.

    Streams share the threads among them, which is best when all are busy and slowest for an image that is alone. With
    more than one stream such an image therefore has a network of its own with all threads, a batch that is alone is
    shared among the streams, and full batches beside others have a network too (decisions 0016, 0018 and 0021). All
    give the same numbers, to the last bit.

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
            wanted = {_ANY: streams}
            if streams > 1:
                # Without full batches the first of these is the one for any size again.
                wanted |= {full_batch: streams, 1: 1}

            def compiled(size: int, count: int) -> _Queue:
                model = network if size == _ANY else _of_size(network, size)
                options = _options(variant.precision, threads, count) | ({} if size == _ANY else _SAME_ROUNDING)
                return _requests(core.compile_model(model, "CPU", options), count)

            with ThreadPoolExecutor(len(wanted)) as compiling:
                free = dict(zip(wanted, compiling.map(compiled, wanted, wanted.values()), strict=True))
        except RuntimeError as error:
            raise InvalidBundle(
                f"OpenVINO cannot load {artefact.runtime} of {bundle.contract.tag}. Export the model again."
            ) from error
        self._requests = _Requests(free)
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
        with self._requests.borrow(len(images)) as requests:
            parts = np.array_split(images, len(requests))
            return Output.join([_output(result) for result in _run(requests, parts)])


class _Requests:
    """The memory of inferences, lent to whoever runs one.

    Args:
        free: Images in a batch to the requests of the network for so many; `_ANY` for the network that takes any.
    """

    def __init__(self, free: Mapping[int, _Queue]) -> None:
        self._free = free
        self._lock = threading.Lock()
        self._users = 0
        self._side_by_side = -math.inf

    @contextmanager
    def borrow(self, images: int) -> Iterator[list[Any]]:
        """Lends one for so many images, or several to share them among; waits until one is free."""
        with self._lock:
            alone = self._is_alone(time.monotonic())
            self._users += 1
        free = self._choose(images, alone)
        requests = [free.get()]
        try:
            if alone:
                requests += _take(free, images - 1)
            yield requests
        finally:
            for request in requests:
                free.put(request)
            with self._lock:
                self._users -= 1
                if self._users:
                    self._side_by_side = time.monotonic()

    def _is_alone(self, now: float) -> bool:
        if self._users:
            self._side_by_side = now
        return now - self._side_by_side > _COMPANY_S

    def _choose(self, images: int, alone: bool) -> _Queue:
        # Alone, one image has the network with all threads, and several share the streams.
        size = images if alone == (images == 1) else _ANY
        return self._free.get(size, self._free[_ANY])


def _take(free: _Queue, most: int) -> list[Any]:
    """Returns what is free now, at most so many."""
    taken: list[Any] = []
    with suppress(queue.Empty):
        while len(taken) < most:
            taken.append(free.get_nowait())
    return taken


def _run(requests: Sequence[Any], parts: Sequence[NDArray[np.uint8]]) -> list[Any]:
    """Returns the results of the parts, run at the same time, a part by each request."""
    # Shared, not copied: the caller waits, and nobody else writes into its images.
    if len(requests) == 1:
        return [requests[0].infer({0: parts[0]}, share_inputs=True)]
    with ExitStack() as running:
        for request, part in zip(requests, parts, strict=True):
            request.start_async({0: part}, share_inputs=True)
            running.callback(request.wait)
    return [request.results for request in requests]


def _output(result: Any) -> Output:
    return Output(np.array(result["logits"], np.float32), np.array(result["features"], np.float32))


def _of_size(network: Any, images: int) -> Any:
    fixed = network.clone()
    fixed.reshape([images, *fixed.input(0).partial_shape[1:]])
    return fixed


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
