"""LiteRT, the runtime of TFLite files: small, for edge machines; one image in each inference."""

import queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmri.errors import InvalidBundle
from brainmri.model.bundle import Bundle
from brainmri.model.options import ModelOptions
from brainmri.model.runtimes.network_shape import require_outputs
from brainmri.model.runtimes.protocol import Output, RuntimeInfo
from brainmri.model.variants import Variant, not_installed


class LiteRTRuntime:
    """Runs a TFLite artefact whose signature takes one `image` and gives `logits`, `features` and `feature_map`.

    The file has a fixed batch of one, which lets LiteRT plan memory and kernels once; several images go one after the
    other. An interpreter serves one caller at a time, so there is one for each stream.

    Args:
        bundle: The verified bundle, with an artefact of one `.tflite` file.
        variant: The precision, as stored in the artefact.
        options: CPU threads, shared among the streams; streams.

    Raises:
        RuntimeUnavailable: The package `ai-edge-litert` is not installed.
        InvalidBundle: The file cannot be read or lacks an output of the contract's shape.
    """

    def __init__(self, bundle: Bundle, variant: Variant, options: ModelOptions) -> None:
        try:
            import ai_edge_litert  # noqa: PLC0415 -- only the chosen runtime is imported
            from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415
        except ImportError as error:
            raise not_installed("litert") from error
        artefact = bundle.named(variant.artefact)
        path = str(bundle.file(artefact, ".tflite"))
        self._runners: queue.SimpleQueue[Any] = queue.SimpleQueue()
        try:
            for _ in range(options.streams):
                interpreter = Interpreter(model_path=path, num_threads=max(1, options.threads // options.streams))
                runner = interpreter.get_signature_runner()
                shapes = {name: list(detail["shape"]) for name, detail in runner.get_output_details().items()}
                self._runners.put(runner)
        except (ValueError, RuntimeError) as error:
            raise InvalidBundle(
                f"LiteRT cannot load {artefact.runtime} of {bundle.contract.tag}. Export the model again."
            ) from error
        require_outputs(bundle.contract, shapes)
        self._contract = bundle.contract
        self._info = RuntimeInfo(
            variant.name,
            variant.precision,
            options.threads,
            batch_sizes=(1,),
            streams=options.streams,
            version=ai_edge_litert.__version__,
        )

    @property
    def info(self) -> RuntimeInfo:
        """Which runtime answers."""
        return self._info

    def infer(self, images: NDArray[np.uint8]) -> Output:
        """Runs the network, one image after the other.

        Args:
            images: uint8 `[B, 299, 299, 3]`, values in [0, 255].
        """
        runner = self._runners.get()
        try:
            results = [runner(image=np.ascontiguousarray(images[i : i + 1])) for i in range(len(images))]
        finally:
            self._runners.put(runner)
        return Output.join([Output.of(result, self._contract) for result in results])
