"""Classical models on the features of a network: fitted by scikit-learn, written as ONNX."""

from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from brainmri.errors import DatasetError

Kind = Literal["svm", "random_forest"]

LARGEST_DIFFERENCE = 1e-5
"""What a probability in ONNX may differ from scikit-learn's: the one computes in float32, the other in float64."""

_FOLDS = 5
_TREES = 300
_SMALLEST_LEAF = 3
_OPSET = {"": 18, "ai.onnx.ml": 3}


def fit_classifier(
    kind: Kind, features: NDArray[np.float32], labels: NDArray[np.intp], groups: NDArray[np.intp], seed: int = 0
) -> Pipeline:
    """Returns a classical model fitted to features; labels weigh alike, however many images each has.

    Args:
        kind: `svm` has a kernel of radial basis functions, and probabilities from Platt's sigmoid over decisions in
            cross-validation by group; `random_forest` has the shares of its trees.
        features: `[N, D]`.
        labels: Indices `[N]`; each index up to the largest occurs.
        groups: Number of the person or near-duplicates of each row `[N]`.
        seed: Of trees and folds.

    Raises:
        DatasetError: A label has no image.
    """
    counts = np.bincount(labels)
    if not counts.all():
        raise DatasetError(f"Label number {int(counts.argmin())} has no image to fit a classifier to.")
    if kind == "random_forest":
        forest = RandomForestClassifier(
            _TREES, min_samples_leaf=_SMALLEST_LEAF, class_weight="balanced_subsample", random_state=seed, n_jobs=-1
        )
        return make_pipeline(forest).fit(features, labels)
    scaler = StandardScaler().fit(features)
    scaled = scaler.transform(features)
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed).split(scaled, labels, groups)
    machine = SVC(C=10.0, class_weight="balanced", random_state=seed)
    calibrated = CalibratedClassifierCV(machine, ensemble=False, cv=list(folds)).fit(scaled, labels)
    return make_pipeline(scaler, calibrated)


def write_classifier(fitted: Pipeline, path: Path) -> None:
    """Writes a fitted model as ONNX: float32 `features` `[B, D]` in, `probabilities` `[B, C]` out."""
    features = [("features", FloatTensorType([None, fitted.n_features_in_]))]
    options = {id(fitted): {"zipmap": False}}
    model = to_onnx(fitted, initial_types=features, options=options, target_opset=_OPSET)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


def largest_difference(fitted: Pipeline, path: Path, features: NDArray[np.float32]) -> float:
    """Returns the largest difference of any probability between a fitted model and what was written of it."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (written,) = session.run(["probabilities"], {"features": features})
    return float(np.abs(written - fitted.predict_proba(features)).max())
