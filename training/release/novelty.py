"""Fits the novelty detector of a runtime on training slices, and its threshold on validation slices."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmri.model.bundle import file_sha256
from brainmri.model.contract import Novelty
from brainmri.model.novelty import NoveltyDetector
from training.data.slices import Slices
from training.data.sources import TRAIN, VALIDATION
from training.data.tables import write_atomically
from training.release.outputs import Outputs, RuntimeChoice

COMPONENTS = 256
"""Principal components that keep their own variance; decision 0007."""

KEEPS = 0.975
"""Share of the validation slices that the threshold keeps."""

METHOD = (
    "Mahalanobis distance of the square roots of the pooled features from the training slices, with one shared"
    " variance outside their leading principal components; 1 is the median validation slice."
)


def fit_novelty(outputs: Outputs, choice: RuntimeChoice, slices: Slices, path: Path) -> Novelty:
    """Writes the detector of one runtime to `path` and returns what the contract says of it.

    Near-duplicate groups give one training slice each, so that 27 copies of one do not shape the distance.
    """
    train = one_of_each_group(slices, TRAIN)
    parameters = fit_parameters(outputs.of(choice, slices.pixels, train).features, COMPONENTS)
    validation = outputs.of(choice, slices.pixels, slices.subset(VALIDATION)).features
    unit = float(np.median(_write(path, parameters, 1.0).score(validation)))
    scores = _write(path, parameters, unit).score(validation)
    threshold = float(np.quantile(scores, KEEPS, method="higher"))
    return Novelty(
        method=METHOD,
        file=f"novelty/{outputs.name(choice)}.npz",
        sha256=file_sha256(path),
        bytes=path.stat().st_size,
        threshold=threshold,
        keeps=float((scores <= threshold).mean()),
        fitted_on=len(train),
    )


def one_of_each_group(slices: Slices, subset: str) -> NDArray[np.intp]:
    """Returns the first row of every near-duplicate group of a subset."""
    rows = slices.subset(subset)
    _, first = np.unique(slices.groups[rows], return_index=True)
    return rows[np.sort(first)]


def fit_parameters(features: NDArray[np.float32], components: int) -> dict[str, NDArray[np.floating]]:
    """Returns mean, scale, basis, weights and rest of a `NoveltyDetector` for training features `[N, D]`.

    Scales are bounded by that of the median feature: one that hardly ever fires in training must not decide alone.
    """
    roots = np.sqrt(np.maximum(features.astype(np.float64), 0))
    mean, deviation = roots.mean(axis=0), roots.std(axis=0)
    floor = max(float(np.median(deviation)), 1e-6)
    scale = 1 / np.maximum(deviation, floor)
    centred = (roots - mean) * scale
    variances, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
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


def fit_detector(features: NDArray[np.float32], components: int) -> NoveltyDetector:
    """Returns a detector fitted on training features `[N, D]` whose scores are not normalised, for comparisons."""
    parameters = fit_parameters(features, components)
    return NoveltyDetector(
        parameters["mean"],
        parameters["scale"],
        parameters["basis"],
        parameters["weights"],
        parameters["rest"].item(),
        unit=1.0,
    )


def _write(path: Path, parameters: dict[str, NDArray[np.floating]], unit: float) -> NoveltyDetector:
    file = io.BytesIO()
    np.savez(file, **parameters, unit=np.array(unit, np.float32))  # type: ignore[arg-type]  # NumPy takes any name
    write_atomically(path, file.getvalue())
    return NoveltyDetector.read(path)
