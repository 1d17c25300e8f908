"""The figures of a bundle's card, drawn from its evaluation."""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmri.model.novelty import open_detector
from training import plots
from training.data.outliers import Outliers
from training.data.slices import Slices
from training.data.sources import TEST
from training.data.split import EXTERNAL
from training.release.answers import Answers
from training.release.evaluate import Evaluation
from training.release.outputs import SERVING, Outputs

_MISTAKES = 20


def plot_evaluation(
    evaluation: Evaluation, outputs: Outputs, outliers: Outliers, slices: Slices, folder: Path
) -> list[Path]:
    """Draws every figure into `folder` and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    test = evaluation.subsets[TEST]
    title = f"by person, {len(test.labels)} images"
    drawn = []
    labels = slices.classes.labels
    for name, plot in (
        ("confusion", partial(plots.plot_confusion, classes=labels)),
        ("reliability", plots.plot_reliability),
        ("curves", partial(plots.plot_curves, classes=labels)),
        ("risk_coverage", plots.plot_risk_coverage),
    ):
        drawn.append(folder / f"{name}_person.png")
        plot(test.likely, test.labels, title, drawn[-1])
    drawn.append(_mistakes(test, slices, folder / "mistakes_person.png"))
    return drawn + _novelty(evaluation.subsets, outputs, outliers, slices, folder)


def _mistakes(answers: Answers, slices: Slices, path: Path) -> Path:
    wrong = np.flatnonzero(answers.predicted != answers.labels)
    worst = wrong[np.argsort(-answers.likely[wrong].max(axis=1))][:_MISTAKES]
    names = [Path(slices.images[number].name).name for number in answers.rows[worst]]
    plots.plot_mistakes(names, answers.likely[worst], answers.labels[worst], path, slices.classes.labels)
    return path


def _novelty(
    subsets: dict[str, Answers], outputs: Outputs, outliers: Outliers, slices: Slices, folder: Path
) -> list[Path]:
    detector = open_detector(outputs.bundle, outputs.name(SERVING))
    novelty = outputs.bundle.contract.calibration(outputs.name(SERVING)).novelty
    if detector is None or novelty is None:
        return []
    others = {"near set": outputs.of(SERVING, outliers.near).features}
    if len(outliers.far):
        others["photographs"] = outputs.of(SERVING, outliers.far).features
    known = {
        name: outputs.of(SERVING, slices.pixels, subsets[subset].rows).features
        for name, subset in (("by person", TEST), ("tumours of another source", EXTERNAL))
        if subset in subsets
    }
    histogram, cloud = folder / "novelty.png", folder / "features_person.png"
    plots.plot_novelty({name: detector.score(f) for name, f in (known | others).items()}, novelty.threshold, histogram)
    features, labels = known["by person"], subsets[TEST].labels
    classes = {label: features[labels == i] for i, label in enumerate(slices.classes.labels)}
    plots.plot_features(_project(classes | others, features), cloud)
    return [histogram, cloud]


def _project(clouds: dict[str, NDArray[np.float32]], reference: NDArray[np.float32]) -> dict[str, NDArray[np.floating]]:
    roots = np.sqrt(np.maximum(reference.astype(np.float64), 0))
    mean = roots.mean(axis=0)
    _, _, directions = np.linalg.svd(roots - mean, full_matrices=False)
    return {name: (np.sqrt(np.maximum(cloud, 0)) - mean) @ directions[:2].T for name, cloud in clouds.items()}
