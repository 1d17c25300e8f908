"""How well novelty scores tell brain-MRI slices from everything else. Slices are the positive class."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from brainmri.model.bundle import Bundle
from brainmri.model.novelty import NoveltyDetector, open_detector
from training.data.outliers import Outliers
from training.data.slices import Slices
from training.data.sources import TEST
from training.release.outputs import REFERENCE, SERVING, Outputs, RuntimeChoice

Scores = NDArray[np.floating[Any]]


def detection(slices: Scores, others: Scores, threshold: float) -> dict[str, float | int]:
    """Returns AUROC, FPR at 95 % TPR, AUPR, and the share of the others that the threshold lets pass.

    Args:
        slices: Novelty of brain-MRI slices `[N]`, the positive class.
        others: Novelty of other images `[M]`.
        threshold: Of the contract.
    """
    truth = np.concatenate([np.ones(len(slices)), np.zeros(len(others))])
    likeness = -np.concatenate([slices, others])
    accepts_95 = np.quantile(slices, 0.95, method="higher")
    return {
        "images": len(others),
        "auroc": float(roc_auc_score(truth, likeness)),
        "fpr95": float((others <= accepts_95).mean()),
        "aupr": float(average_precision_score(truth, likeness)),
        "passed": float((others <= threshold).mean()),
    }


def describe_novelty(outputs: Outputs, slices: Slices, outliers: Outliers) -> dict[str, Any]:
    """Returns the figures of the served runtime's detector, with those of the reference beside them.

    Empty for a bundle without a detector. Slices are those of the test persons and groups; photographs and the near set
    were never fitted on.
    """
    detector = open_detector(outputs.bundle, outputs.name(SERVING))
    if detector is None:
        return {}
    spec = _spec(outputs.bundle, outputs.name(SERVING))
    known = score_rows(detector, outputs, SERVING, slices, TEST)
    result: dict[str, Any] = {
        "threshold": spec.threshold,
        "validation_kept": spec.keeps,
        "slices": {"images": len(known), "kept": float((known <= spec.threshold).mean())},
    }
    result |= _against(detector, outputs, SERVING, known, outliers, spec.threshold)
    carries_reference = outputs.bundle.artefact("keras-") is not None
    reference = open_detector(outputs.bundle, outputs.name(REFERENCE)) if carries_reference else None
    if reference is not None:
        result["reference"] = _reference(reference, outputs, slices, outliers)
    return result


def score_rows(
    detector: NoveltyDetector, outputs: Outputs, choice: RuntimeChoice, slices: Slices, subset: str
) -> Scores:
    """Returns the novelty of a subset's images `[N]`."""
    return detector.score(outputs.of(choice, slices.pixels, slices.subset(subset)).features)


def _against(
    detector: NoveltyDetector,
    outputs: Outputs,
    choice: RuntimeChoice,
    known: Scores,
    outliers: Outliers,
    threshold: float,
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if len(outliers.far):
        far = detector.score(outputs.of(choice, outliers.far).features)
        result["far"] = detection(known, far, threshold) | {"sha256": outliers.far_sha256}
    near = detector.score(outputs.of(choice, outliers.near).features)
    kinds = np.array([image.kind for image in outliers.near_set.images])
    origin_of = {image.kind: image.origin for image in outliers.near_set.images}
    result["near"] = detection(known, near, threshold) | {
        "manifest_sha256": outliers.near_set.manifest_sha256,
        "missing": outliers.near_set.missing,
        "differing": outliers.near_set.differing,
        "per_kind": {
            kind: {"origin": origin} | detection(known, near[kinds == kind], threshold)
            for kind, origin in origin_of.items()
        },
    }
    return result


def _reference(detector: NoveltyDetector, outputs: Outputs, slices: Slices, outliers: Outliers) -> dict[str, Any]:
    spec = _spec(outputs.bundle, outputs.name(REFERENCE))
    known = score_rows(detector, outputs, REFERENCE, slices, TEST)
    figures = _against(detector, outputs, REFERENCE, known, outliers, spec.threshold)
    del figures["near"]["per_kind"]
    return {"runtime": outputs.name(REFERENCE), "threshold": spec.threshold} | figures


def _spec(bundle: Bundle, runtime: str) -> Any:
    return bundle.contract.calibration(runtime).novelty
