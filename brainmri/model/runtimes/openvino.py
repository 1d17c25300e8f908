"""The default runtime on CPU: OpenVINO IR with the outputs `logits`, `features` and `feature_map`."""

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmri.errors import InvalidBundle
from brainmri.model.bundle import Bundle
from brainmri.model.options import ModelOptions
from brainmri.model.runtimes.network_shape import require_outputs
from brainmri.model.runtimes.openvino_requests import ANY, Queue, Requests, run
from brainmri.model.runtimes.protocol import Output, RuntimeInfo
from brainmri.model.variants import Variant, not_installed

_SAME_ROUNDING = {"SNIPPETS_MODE": "DISABLE"}
"""Or else OpenVINO fuses some steps where shapes are fixed, and the logits of one image in 200 differ in the third
decimal. The key is OpenVINO's own (`intel_cpu::snippets_mode`); a test compares the bits."""

_converting = threading.Lock()


class OpenVINORuntime:
    """Runs an IR artefact; a call waits while every request of the network that it needs is in use.

    Streams share the threads among them, which is best when all are busy and slowest for an image that is alone. With
    more than one stream such an image therefore has a network of its own with all threads, a batch that is alone is
    shared among the streams, and full batches beside others have one of their own (decisions 0016, 0018 and 0021). All
    give the same numbers, to the last bit: a test shows it for the released int8 network.

    Args:
        bundle: The verified bundle, with an artefact of one `.xml` and one `.bin` file.
        variant: The precision to compute in.
        options: CPU threads, shared among the streams; streams; images in a full batch, for which streams get a network
            of their own.

    Raises:
        RuntimeUnavailable: The package `openvino` is not installed.
        InvalidBundle: The IR cannot be read or lacks an output of the contract's shape.
    """

    def __init__(self, bundle: Bundle, variant: Variant, options: ModelOptions) -> None:
        try:
            import openvino  # noqa: PLC0415 -- only the chosen runtime is imported
        except ImportError as error:
            raise not_installed("openvino") from error
        _convert_once(openvino)
        artefact, core = bundle.named(variant.artefact), openvino.Core()
        try:
            network = core.read_model(bundle.file(artefact, ".xml"), bundle.file(artefact, ".bin"))
            shapes = {name: _shape(output) for output in network.outputs for name in output.names}
            require_outputs(bundle.contract, shapes)
            wanted = {ANY: options.streams}
            if options.streams > 1:
                # Without full batches the first of these is the one for any size again; with full ones of 1, the last.
                wanted |= {options.full_batch: options.streams, 1: 1}

            def compiled(size: int, count: int) -> Queue:
                model = network if size == ANY else _of_size(network, size)
                properties = _properties(variant.precision, options.threads, count)
                if size != ANY:
                    properties |= _SAME_ROUNDING
                return _requests(core.compile_model(model, "CPU", properties), count)

            with ThreadPoolExecutor(len(wanted)) as compiling:
                free = dict(zip(wanted, compiling.map(compiled, wanted, wanted.values()), strict=True))
        except RuntimeError as error:
            raise InvalidBundle(
                f"OpenVINO cannot load {artefact.runtime} of {bundle.contract.tag}. Export the model again."
            ) from error
        self._requests = Requests(free)
        self._contract = bundle.contract
        self._info = RuntimeInfo(
            variant.name,
            variant.precision,
            options.threads,
            streams=options.streams,
            version=openvino.__version__.partition("-")[0],
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
            return Output.join([Output.of(result, self._contract) for result in run(requests, images)])


def _convert_once(openvino: Any) -> None:
    """Takes an array to OpenVINO and back, before two threads can be the first to do so: they could hang for ever.

    The binding fills a table in a C++ static and lets go of the interpreter lock meanwhile. A second thread then waits
    for the table with that lock in its hands (OpenVINO 2026.4.1, decision 0022).
    """
    with _converting:
        _ = openvino.Tensor(np.zeros(1, np.uint8), shared_memory=True).data


def _of_size(network: Any, images: int) -> Any:
    fixed = network.clone()
    fixed.reshape([images, *fixed.input(0).partial_shape[1:]])
    return fixed


def _requests(network: Any, count: int) -> Queue:
    free: Queue = queue.SimpleQueue()
    for _ in range(count):
        free.put(network.create_infer_request())
    return free


def _shape(output: Any) -> list[int | None]:
    shape = output.partial_shape
    if not shape.rank.is_static:
        return []
    return [axis.get_length() if axis.is_static else None for axis in shape]


def _properties(precision: str, threads: int, streams: int) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        # By default CPUs with bfloat16 compute in it: the same image would get other probabilities elsewhere.
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
