"""The figures of a bundle's card, drawn from its evaluation."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmri.model.contract import LABELS
from brainmri.model.novelty import open_detector
from training import plots
from training.data.arrays import Arrays
from training.data.outliers import Outliers
from training.release.evaluate import Answers, Evaluation
from training.release.outputs import SERVING, Outputs

_MISTAKES = 20


def plot_evaluation(
    evaluation: Evaluation, outputs: Outputs, outliers: Outliers, arrays: Arrays, folder: Path
) -> list[Path]:
    """Draws every figure into `folder` and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for split in ("grouped", "leak_free"):
        answers = evaluation.splits[split]
        drawn.append(folder / f"confusion_{split}.png")
        plots.plot_confusion(answers.likely, answers.labels, f"{split}, {len(answers.labels)} images", drawn[-1])
    grouped = evaluation.splits["grouped"]
    for name, plot in (
        ("reliability", plots.plot_reliability),
        ("curves", plots.plot_curves),
        ("risk_coverage", plots.plot_risk_coverage),
    ):
        drawn.append(folder / f"{name}_grouped.png")
        plot(grouped.likely, grouped.labels, f"grouped hold-out, {len(grouped.labels)} images", drawn[-1])
    drawn.append(_mistakes(grouped, arrays, folder / "mistakes_grouped.png"))
    return drawn + _novelty(grouped, outputs, outliers, folder)


def _mistakes(answers: Answers, arrays: Arrays, path: Path) -> Path:
    wrong = np.flatnonzero(answers.likely.argmax(axis=1) != answers.labels)
    worst = wrong[np.argsort(-answers.likely[wrong].max(axis=1))][:_MISTAKES]
    names = [Path(arrays.rows[number].name).name for number in answers.rows[worst]]
    plots.plot_mistakes(names, answers.likely[worst], answers.labels[worst], path)
    return path


def _novelty(grouped: Answers, outputs: Outputs, outliers: Outliers, folder: Path) -> list[Path]:
    detector = open_detector(outputs.bundle, outputs.name(SERVING))
    novelty = outputs.bundle.contract.calibration(outputs.name(SERVING)).novelty
    if detector is None or novelty is None:
        return []
    features = {"near set": outputs.of(SERVING, outliers.near).features}
    if len(outliers.far):
        features["photographs"] = outputs.of(SERVING, outliers.far).features
    histogram, cloud = folder / "novelty.png", folder / "features_grouped.png"
    scores = {"hold-out": detector.score(grouped.features)} | {k: detector.score(v) for k, v in features.items()}
    plots.plot_novelty(scores, novelty.threshold, histogram)
    classes = {label: grouped.features[grouped.labels == i] for i, label in enumerate(LABELS)}
    plots.plot_features(_project(classes | features, grouped.features), cloud)
    return [histogram, cloud]


def _project(clouds: dict[str, NDArray[np.float32]], reference: NDArray[np.float32]) -> dict[str, NDArray[np.floating]]:
    roots = np.sqrt(np.maximum(reference.astype(np.float64), 0))
    mean = roots.mean(axis=0)
    _, _, directions = np.linalg.svd(roots - mean, full_matrices=False)
    return {name: (np.sqrt(np.maximum(cloud, 0)) - mean) @ directions[:2].T for name, cloud in clouds.items()}
