"""Where the network looked: a heat map of one class, from the feature map that the network gives beside its logits.

Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391), worked out exactly in NumPy. The head is `logits = last @ relu(mean
of the feature map)`, so the gradient of a logit with respect to a cell is the last kernel where the hidden layer is
active, and zero elsewhere. The mean of such a map before its negative part is cut off is the logit, less the biases.
Bundles carry the last kernel less its mean over the classes: what counts is the logit beyond the mean of all.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainmri.errors import HeatMapUnavailable, InvalidBundle, MalformedRequest
from brainmri.imaging import SIDE
from brainmri.model.bundle import Bundle
from brainmri.model.contract import LABELS, Contract

_ARRAYS = ("bias", "kernel")


@dataclass(frozen=True)
class HeatMap:
    """The evidence for one class.

    Attributes:
        label: The class that is explained.
        cells: float32 `[h, w]`, 0 or more, in units of the logit; the cells cover the network's square input.
    """

    label: str
    cells: NDArray[np.float32]

    def enlarged(self) -> NDArray[np.float32]:
        """Returns the map at the size of the network's input, float32 `[299, 299]`."""
        return enlarge(self.cells)


@dataclass(frozen=True)
class Explain:
    """Asks for a heat map beside a prediction.

    Attributes:
        label: Which class; the most probable one if None.
    """

    label: str | None = None


@dataclass(frozen=True)
class Explanation:
    """A heat map and what it lies over.

    Attributes:
        heat_map: The evidence.
        pixels: What the network saw, uint8 `[299, 299, 3]`.
    """

    heat_map: HeatMap
    pixels: NDArray[np.uint8]


class Head:
    """What follows the feature map in the network, in float32 for every runtime.

    Args:
        bias: float32 `[M]`, of the hidden layer.
        kernel: float32 `[M, C]`, of the last layer.
        labels: The C classes in the order of the logits.

    Raises:
        InvalidBundle: Shapes do not fit, or a value is not finite.
    """

    def __init__(self, bias: NDArray[np.float32], kernel: NDArray[np.float32], labels: Sequence[str] = LABELS) -> None:
        if bias.ndim != 1 or kernel.shape != (bias.size, len(labels)):
            raise InvalidBundle(f"The head's bias and kernel do not fit: {list(bias.shape)}, {list(kernel.shape)}.")
        if not (np.isfinite(bias).all() and np.isfinite(kernel).all()):
            raise InvalidBundle("The head for heat maps holds a value that is not finite. Export the model again.")
        self._labels = tuple(labels)
        self._bias, self._kernel = bias.astype(np.float32), kernel.astype(np.float32)

    @property
    def channels(self) -> int:
        """Length M of the hidden layer."""
        return len(self._bias)

    @classmethod
    def read(cls, path: Path, labels: Sequence[str] = LABELS) -> "Head":
        """Reads the parameters from a NumPy archive of plain arrays.

        Raises:
            InvalidBundle: Not such an archive, pickled content, or arrays that do not fit.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                bias, kernel = (np.asarray(archive[name], np.float32) for name in _ARRAYS)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InvalidBundle(f"{path.name} holds no head for heat maps: {error}. Export the model again.") from error
        return cls(bias, kernel, labels)

    def of(self, label: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns the bias of the hidden layer and the last layer's weights for one class, `[M]` each.

        Raises:
            MalformedRequest: No such class.
        """
        require_label(label, self._labels)
        return self._bias, self._kernel[:, self._labels.index(label)]

    def heat_map(self, feature_map: NDArray[np.float32], label: str) -> HeatMap:
        """Returns where the evidence for a class lies in one image.

        Args:
            feature_map: float32 `[h, w, M]`.
            label: One of the classes.

        Raises:
            MalformedRequest: No such class.
            ValueError: The network answered with a value that is not finite.
        """
        bias, weights = self.of(label)
        active = feature_map.mean(axis=(0, 1)) > 0
        evidence = np.maximum((feature_map - bias) @ (weights * active), 0)
        if not np.isfinite(evidence).all():
            raise ValueError("The network answered with a feature map that is not finite.")
        return HeatMap(label, evidence.astype(np.float32))


def write_head(path: Path, bias: NDArray[np.float32], kernel: NDArray[np.float32]) -> None:
    """Writes what `Head.read` reads."""
    np.savez(path, bias=bias, kernel=kernel)


def require_explanation(contract: Contract) -> None:
    """Compares a contract with what heat maps need.

    Raises:
        HeatMapUnavailable: The model carries none.
    """
    if contract.explanation is None:
        raise HeatMapUnavailable(
            f"The model {contract.tag} carries no heat map. Ask a model whose contract has an `explanation`,"
            " or export this one again."
        )


def require_label(label: str, labels: Sequence[str]) -> None:
    """Compares a class with those that there are.

    Raises:
        MalformedRequest: No such class; names those that there are.
    """
    if label not in labels:
        known = ", ".join(labels)
        raise MalformedRequest(f"There is no label {label[:40]!r}. Choose one of {known}.", limit=known)


def open_head(bundle: Bundle) -> Head | None:
    """Returns the head of a verified bundle; None when it explains nothing.

    Raises:
        InvalidBundle: The file does not hold a head of the contract's length.
    """
    explanation = bundle.contract.explanation
    if explanation is None:
        return None
    head = Head.read(bundle.folder / explanation.file, bundle.contract.labels)
    if head.channels != explanation.channels:
        raise InvalidBundle(
            f"{explanation.file} has {head.channels} channels, and the contract says {explanation.channels}."
            " Export the model again."
        )
    return head


def enlarge(cells: NDArray[np.float32], side: int = SIDE) -> NDArray[np.float32]:
    """Returns a map `[h, w]` enlarged bilinearly to `[side, side]`, the outer cells continued to the edges."""
    image = Image.fromarray(np.ascontiguousarray(cells, np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR), np.float32)
