"""What the runtimes of a bundle answer, remembered by content so that calibrating and evaluating again is quick."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmri.errors import InvalidBundle
from brainmri.model.bundle import Bundle
from brainmri.model.contract import Artefact
from brainmri.model.explanation import open_head
from brainmri.model.options import ModelOptions
from brainmri.model.runtimes.open import open_runtime
from brainmri.model.runtimes.protocol import Output, Runtime
from brainmri.model.variants import choose
from brainmri.settings import RuntimeChoice
from training.data.tables import write_atomically

__all__ = ["REFERENCE", "SERVING", "Outputs", "RuntimeChoice"]

SERVING: RuntimeChoice = "openvino"
REFERENCE: RuntimeChoice = "tensorflow"
_BATCH = 16


class Outputs:
    """Runs the artefacts of a bundle over images.

    Args:
        bundle: A verified bundle with an artefact for every runtime that is asked for.
        threads: CPU threads for each runtime.
        cache: Folder that remembers outputs by the hashes of network and pixels; None runs the network every time.
    """

    def __init__(self, bundle: Bundle, threads: int, cache: Path | None = None) -> None:
        self.bundle = bundle
        self._threads, self._cache = threads, cache
        self._opened: dict[RuntimeChoice, Runtime] = {}

    def artefact(self, choice: RuntimeChoice) -> Artefact:
        """Returns the artefact that a runtime loads.

        Raises:
            RuntimeUnavailable: The bundle has none for it.
        """
        return self.bundle.named(choose(self.bundle, choice).artefact)

    def name(self, choice: RuntimeChoice) -> str:
        """Returns the runtime and precision that answer, such as `openvino-int8`."""
        return choose(self.bundle, choice).name

    def runtime(self, choice: RuntimeChoice) -> Runtime:
        """Returns the loaded network.

        Raises:
            RuntimeUnavailable: The artefact or its package is missing.
        """
        if choice not in self._opened:
            self._opened[choice] = open_runtime(self.bundle, ModelOptions(runtime=choice, threads=self._threads))
        return self._opened[choice]

    def of(self, choice: RuntimeChoice, pixels: NDArray[np.uint8], rows: NDArray[np.intp] | None = None) -> Output:
        """Returns logits and features of `pixels[rows]`, uint8 `[N, 299, 299, 3]`; of all pixels without `rows`."""
        numbers = np.arange(len(pixels)) if rows is None else rows
        if self._cache is None:
            return self._run(choice, pixels, numbers)
        path = self._cache / f"{self._key(choice, pixels, numbers)}.npz"
        if not path.is_file():
            output, file = self._run(choice, pixels, numbers), io.BytesIO()
            np.savez(file, logits=output.logits, features=output.features)
            write_atomically(path, file.getvalue())
        with path.open("rb") as stored, np.load(stored, allow_pickle=False) as arrays:
            return Output(arrays["logits"], arrays["features"])

    def heat_maps(
        self, choice: RuntimeChoice, pixels: NDArray[np.uint8], rows: NDArray[np.intp], labels: Sequence[str]
    ) -> NDArray[np.float32]:
        """Returns the heat maps of one class for each image, float32 `[N, h, w]`; they are not remembered.

        Args:
            choice: Which runtime.
            pixels: uint8 `[M, 299, 299, 3]`.
            rows: Which of them, `[N]`.
            labels: Which class of each.

        Raises:
            InvalidBundle: The bundle carries no heat maps.
        """
        head, runtime, maps = open_head(self.bundle), self.runtime(choice), []
        for start in range(0, len(rows), _BATCH):
            feature_map = runtime.infer(np.asarray(pixels[rows[start : start + _BATCH]])).feature_map
            if head is None or feature_map is None:
                raise InvalidBundle(f"{self.bundle.contract.tag} carries no heat maps. Export the model again.")
            asked = zip(feature_map, labels[start : start + _BATCH], strict=True)
            maps += [head.heat_map(one, label).cells for one, label in asked]
        return np.stack(maps)

    def _run(self, choice: RuntimeChoice, pixels: NDArray[np.uint8], rows: NDArray[np.intp]) -> Output:
        runtime = self.runtime(choice)
        parts = [runtime.infer(np.asarray(pixels[rows[i : i + _BATCH]])) for i in range(0, len(rows), _BATCH)]
        return Output(np.concatenate([p.logits for p in parts]), np.concatenate([p.features for p in parts]))

    def _key(self, choice: RuntimeChoice, pixels: NDArray[np.uint8], rows: NDArray[np.intp]) -> str:
        files, name = sorted(self.artefact(choice).files.items()), self.name(choice)
        # Of what reads another precision's artefact, the name tells; old keys stay.
        digest = hashlib.sha256((str(files) + name * (name != self.artefact(choice).runtime)).encode())
        if (classifier := self.bundle.contract.classifier) is not None:
            digest.update(classifier.sha256.encode())
        for row in rows:
            digest.update(pixels[row].tobytes())
        return digest.hexdigest()
