"""Classical models on features: what they learn, and that ONNX says the same."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from brainmri.errors import DatasetError
from training.studies.classifiers import Kind, fit_classifier, largest_difference, write_classifier

CLASSES, SIZE = 4, 32


def clouds(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Features around one centre for each label, of the size that pooled features have."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).uniform(0, 2, (CLASSES, SIZE))
    labels = np.arange(count) % CLASSES
    return (centres[labels] + rng.normal(0, 0.4, (count, SIZE))).astype(np.float32), labels.astype(np.intp)


@pytest.mark.parametrize("kind", ["svm", "random_forest"])
def test_what_is_written_says_what_scikit_learn_says_and_is_right(kind: Kind, tmp_path: Path) -> None:
    features, labels = clouds(240, seed=1)
    fitted = fit_classifier(kind, features, labels, np.arange(240) // 2)
    write_classifier(fitted, tmp_path / "m.onnx")
    unseen, truth = clouds(400, seed=2)
    assert largest_difference(fitted, tmp_path / "m.onnx", unseen) <= 1e-5
    likely = fitted.predict_proba(unseen)
    np.testing.assert_allclose(likely.sum(axis=1), 1, atol=1e-6)
    assert (likely.argmax(axis=1) == truth).mean() > 0.95


def test_fitting_again_gives_the_same_file(tmp_path: Path) -> None:
    features, labels = clouds(80, seed=1)
    for name in ("a", "b"):
        write_classifier(fit_classifier("random_forest", features, labels, np.arange(80)), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_label_without_images_is_told() -> None:
    features, labels = clouds(80, seed=1)
    with pytest.raises(DatasetError, match="Label number 2 has no image"):
        fit_classifier("svm", features[labels != 2], labels[labels != 2], np.arange(60))
