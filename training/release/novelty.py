"""Fits the novelty detector of a runtime on training slices, and its threshold on validation slices.

A scanner of which training has seen little is a brain MRI too. So each family of images (one label of one source)
counts alike in the fit, and the threshold keeps its share of every family, the tumours of another source among them.
"""

import io
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmri.model.bundle import file_sha256
from brainmri.model.contract import Novelty
from brainmri.model.novelty import NoveltyDetector
from training.data.slices import Slices
from training.data.sources import TRAIN, VALIDATION
from training.data.split import EXTERNAL_VALIDATION
from training.data.tables import write_atomically
from training.release.outputs import Outputs, RuntimeChoice

COMPONENTS = 256
"""Principal components that keep their own variance; decision 0007."""

KEEPS = 0.975
"""Share of the validation slices of every family that the threshold keeps."""

_JUDGED = 10
"""A family with fewer validation slices has no say in the threshold."""

METHOD = (
    "Mahalanobis distance of the square roots of the pooled features from the training slices, every source and label"
    " counting alike, with one shared variance outside their leading principal components; 1 is the median validation"
    " slice."
)


def fit_novelty(outputs: Outputs, choice: RuntimeChoice, slices: Slices, path: Path) -> Novelty:
    """Writes the detector of one runtime to `path` and returns what the contract says of it.

    Near-duplicate groups give one training slice each, so that 27 copies of one do not shape the distance.
    """
    train = slices.first_of_each_group(TRAIN)
    features = outputs.of(choice, slices.pixels, train).features
    parameters = fit_parameters(features, COMPONENTS, _equal_families(slices, train))
    judged = {subset: rows for subset in (VALIDATION, EXTERNAL_VALIDATION) if len(rows := slices.subset(subset))}
    seen = {subset: outputs.of(choice, slices.pixels, rows).features for subset, rows in judged.items()}
    unit = float(np.median(_write(path, parameters, 1.0).score(seen[VALIDATION])))
    scores = _write(path, parameters, unit).score(np.concatenate(list(seen.values())))
    threshold = _threshold(scores, [slices.family(row) for rows in judged.values() for row in rows.tolist()])
    return Novelty(
        method=METHOD,
        file=f"novelty/{outputs.name(choice)}.npz",
        sha256=file_sha256(path),
        bytes=path.stat().st_size,
        threshold=threshold,
        keeps=float((scores <= threshold).mean()),
        fitted_on=len(train),
    )


def _equal_families(slices: Slices, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Returns weights `[N]` with which every family of `rows` has the same sum."""
    families = [slices.family(row) for row in rows.tolist()]
    sizes = Counter(families)
    return np.array([1 / sizes[family] for family in families])


def _threshold(scores: NDArray[np.float32], families: list[tuple[str, str]]) -> float:
    """Returns the least score that keeps the share `KEEPS` of all and of every family that is large enough."""
    sizes = Counter(families)
    chosen = [np.array([each == family for each in families]) for family, size in sizes.items() if size >= _JUDGED]
    parts = [scores, *(scores[members] for members in chosen)]
    return max(float(np.quantile(part, KEEPS, method="higher")) for part in parts)


def fit_parameters(
    features: NDArray[np.float32], components: int, weights: NDArray[np.float64] | None = None
) -> dict[str, NDArray[np.floating]]:
    """Returns mean, scale, basis, weights and rest of a `NoveltyDetector` for training features `[N, D]`.

    Scales are bounded by that of the median feature: one that hardly ever fires in training must not decide alone.

    Args:
        features: Of the training slices.
        components: Principal components that keep their own variance.
        weights: How much each slice counts, `[N]`; all alike if None.
    """
    roots = np.sqrt(np.maximum(features.astype(np.float64), 0))
    share = np.full(len(roots), 1 / len(roots)) if weights is None else weights / weights.sum()
    mean = share @ roots
    deviation = np.sqrt(share @ (roots - mean) ** 2)
    floor = max(float(np.median(deviation)), 1e-6)
    scale = 1 / np.maximum(deviation, floor)
    centred = (roots - mean) * scale
    variances, vectors = np.linalg.eigh((centred * share[:, None]).T @ centred)
    # A quarter of the slices and half of the features at most: what is left has to tell the shared variance.
    kept = max(1, min(components, len(features) // 4, features.shape[1] // 2))
    variances, vectors = np.maximum(variances[::-1], 1e-9), vectors[:, ::-1]
    return {
        "mean": mean.astype(np.float32),
        "scale": scale.astype(np.float32),
        "basis": vectors[:, :kept].astype(np.float16),
        "weights": (1 / variances[:kept]).astype(np.float32),
        "rest": np.array(1 / variances[kept:].mean(), np.float32),
    }


def _write(path: Path, parameters: dict[str, NDArray[np.floating]], unit: float) -> NoveltyDetector:
    file = io.BytesIO()
    np.savez(file, **parameters, unit=np.array(unit, np.float32))  # type: ignore[arg-type]  # NumPy takes any name
    write_atomically(path, file.getvalue())
    return NoveltyDetector.read(path)
