"""Is this a brain-MRI slice at all? The distance of pooled features from those of the training slices.

NumPy only. The detector is a Mahalanobis distance whose covariance keeps the variances along the leading principal
components and shares one variance among all the others (probabilistic PCA, Tipping and Bishop 1999). Square roots of
the features come first, because pooled ReLU features scatter more where they are larger. Decision 0007 compares it with
others.
"""

import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from brainmri.errors import InvalidBundle
from brainmri.model.bundle import Bundle

Policy = Literal["abstain", "no_tumor", "pass"]
"""Label of an image that is novel: none; what means "no tumour", if any; or the network's own. The verdict stays."""

NOT_A_BRAIN_MRI, UNSURE = "not_a_brain_mri", "unsure"
_ARRAYS = ("mean", "scale", "basis", "weights", "rest", "unit")


class NoveltyDetector:
    """Scores features: 1 is the median validation slice, more is further from what training has seen.

    Args:
        mean: float32 `[D]`, of the square roots of the training slices' features.
        scale: float32 `[D]`, factor of each centred square root.
        basis: `[D, K]`, the leading principal components as columns, any float type; made orthonormal here.
        weights: float32 `[K]`, factor of the squared coordinate along each component.
        rest: Factor of the squared distance from the components' span.
        unit: Distance of the median validation slice.

    Raises:
        InvalidBundle: Shapes do not fit, or a value is not finite or negative.
    """

    def __init__(
        self,
        mean: NDArray[np.float32],
        scale: NDArray[np.float32],
        basis: NDArray[np.floating],
        weights: NDArray[np.float32],
        rest: float,
        unit: float,
    ) -> None:
        _require_shapes(mean, scale, basis, weights)
        parts = (mean, scale, basis, weights, np.array([rest, unit]))
        if not all(np.isfinite(part).all() for part in parts) or min(weights.min(), rest) < 0 or unit <= 0:
            raise InvalidBundle("The novelty detector holds values that cannot be. Register the model again.")
        self._mean, self._scale = mean.astype(np.float32), scale.astype(np.float32)
        # Stored in float16, the columns are not quite orthonormal; the distance from their span needs them to be.
        self._basis = np.linalg.qr(basis.astype(np.float64))[0].astype(np.float32)
        self._weights, self._rest, self._unit = weights.astype(np.float32), float(rest), float(unit)

    @property
    def feature_size(self) -> int:
        """Length D of the features that it scores."""
        return len(self._mean)

    @classmethod
    def read(cls, path: Path) -> "NoveltyDetector":
        """Reads the parameters from a NumPy archive of plain arrays.

        Raises:
            InvalidBundle: Not such an archive, pickled content, or arrays that do not fit.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                mean, scale, basis, weights, rest, unit = (np.asarray(archive[name]) for name in _ARRAYS)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InvalidBundle(f"{path.name} holds no novelty detector: {error}. Register the model again.") from error
        if rest.size != 1 or unit.size != 1:
            raise InvalidBundle(f"{path.name} holds no novelty detector: rest and unit must be single numbers.")
        return cls(mean, scale, basis, weights, rest.item(), unit.item())

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns how far each image is from the training slices, float32 `[B]`, 0 or more.

        Args:
            features: float32 `[B, D]`.

        Raises:
            ValueError: A feature is not finite.
        """
        centred = (np.sqrt(np.maximum(features, 0)) - self._mean) * self._scale
        inside = (centred @ self._basis) ** 2
        outside = np.maximum((centred**2).sum(axis=1) - inside.sum(axis=1), 0)
        scores = np.sqrt(inside @ self._weights + self._rest * outside) / self._unit
        if not np.isfinite(scores).all():
            raise ValueError("The network answered with a feature that is not finite.")
        return np.asarray(scores, np.float32)


def open_detector(bundle: Bundle, runtime: str) -> NoveltyDetector | None:
    """Returns the detector of a verified bundle for a runtime such as `openvino-int8`; None when it has none.

    Raises:
        InvalidBundle: The file does not hold a detector for features of the contract's length.
    """
    novelty = bundle.contract.calibration(runtime).novelty
    if novelty is None:
        return None
    detector = NoveltyDetector.read(bundle.folder / novelty.file)
    if detector.feature_size != bundle.contract.feature_size:
        raise InvalidBundle(
            f"{novelty.file} scores {detector.feature_size} features, and the contract says"
            f" {bundle.contract.feature_size}. Register the model again."
        )
    return detector


def _require_shapes(*arrays: NDArray[np.floating]) -> None:
    mean, scale, basis, weights = arrays
    fit = mean.ndim == weights.ndim == 1 and scale.shape == mean.shape and basis.shape == (mean.size, weights.size)
    if not fit or not 0 < weights.size <= mean.size:
        shapes = ", ".join(str(list(array.shape)) for array in arrays)
        raise InvalidBundle(f"The novelty detector's mean, scale, basis and weights do not fit: {shapes}.")
