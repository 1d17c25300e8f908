"""The reference runtime: the Keras network as it was trained, rebuilt from JSON and plain arrays."""

import os
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmri.errors import InvalidBundle, RuntimeUnavailable
from brainmri.model.bundle import Bundle
from brainmri.model.options import ModelOptions
from brainmri.model.runtimes.protocol import Output, RuntimeInfo
from brainmri.model.variants import Variant, not_installed


class TensorFlowRuntime:
    """Runs a `keras-*` artefact: `model.json` (`Model.to_json`) and `weights.npz` (arrays `0000`, `0001`, ...).

    Neither file can execute code: Keras refuses lambdas from JSON (safe mode), and NumPy refuses pickles.

    Args:
        bundle: The verified bundle, with an artefact of one `model.json` and one `weights.npz`.
        variant: With the precision `bf16`, matrix products and convolutions are in bfloat16, for the whole process.
        options: CPU threads for one inference.

    Raises:
        RuntimeUnavailable: Keras or its back end is not installed.
        InvalidBundle: The weights do not fit the network.
    """

    def __init__(self, bundle: Bundle, variant: Variant, options: ModelOptions) -> None:
        keras = _import_keras(options.threads, bfloat16=variant.precision == "bf16")
        artefact = bundle.named(variant.artefact)
        text = bundle.file(artefact, "model.json").read_text(encoding="utf-8")
        weights = read_weights(bundle.file(artefact, "weights.npz"))
        try:
            self._model = keras.models.model_from_json(text)
            self._model.set_weights(weights)
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidBundle(
                f"Keras cannot rebuild {artefact.runtime} of {bundle.contract.tag}: {error}. Export the model again."
            ) from error
        self._lock = threading.Lock()
        self._contract = bundle.contract
        self._info = RuntimeInfo(variant.name, variant.precision, options.threads, version=keras.__version__)

    @property
    def info(self) -> RuntimeInfo:
        """Which runtime answers."""
        return self._info

    def infer(self, images: NDArray[np.uint8]) -> Output:
        """Runs the network.

        Args:
            images: uint8 `[B, 299, 299, 3]`, values in [0, 255].
        """
        with self._lock:
            result = self._model.predict_on_batch(images)
        return Output.of(result, self._contract)


def read_weights(path: Path) -> list[NDArray[np.float32]]:
    """Reads arrays named `0000`, `0001`, ... in this order, as float32.

    Raises:
        InvalidBundle: Not such a file, a gap in the numbers, or pickled content.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = sorted(archive.files)
            if names != [f"{index:04d}" for index in range(len(names))]:
                raise InvalidBundle(f"{path.name} must hold arrays 0000, 0001, ...; it holds {names[:3]}...")
            return [np.asarray(archive[name], np.float32) for name in names]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidBundle(f"{path.name} is not a NumPy archive of plain arrays: {error}.") from error


def _import_keras(threads: int, *, bfloat16: bool) -> Any:
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        import keras  # noqa: PLC0415 -- only the chosen runtime is imported

        if keras.backend.backend() == "tensorflow":
            import tensorflow  # noqa: PLC0415

            _limit_threads(tensorflow, threads)
            if bfloat16:
                options = {"auto_mixed_precision_onednn_bfloat16": True}
                tensorflow.config.optimizer.set_experimental_options(options)
        elif bfloat16:
            raise RuntimeUnavailable("Only TensorFlow computes in bfloat16. Set KERAS_BACKEND=tensorflow.")
    except ImportError as error:
        raise not_installed("tensorflow") from error
    return keras


def _limit_threads(tensorflow: Any, threads: int) -> None:
    try:
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        # TensorFlow has already started its threads in this process, as in training; its number stays.
        return
