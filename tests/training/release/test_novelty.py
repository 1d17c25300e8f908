from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainmri.model.bundle import file_sha256
from brainmri.model.novelty import NoveltyDetector
from brainmri.model.runtimes.protocol import Output
from training.data.slices import Slices
from training.data.sources import TRAIN, VALIDATION
from training.data.split import EXTERNAL_VALIDATION
from training.release.novelty import KEEPS, _threshold, fit_novelty, fit_parameters
from training.release.outputs import SERVING, Outputs


def cloud(count: int, seed: int, noise: float = 0.02) -> np.ndarray:
    """Features whose square roots vary along three directions of 24, with a little noise everywhere."""
    directions = np.linalg.qr(np.random.default_rng(99).normal(size=(24, 3)))[0].T
    rng = np.random.default_rng(seed)
    roots = 3 + rng.normal(size=(count, 3)) @ (directions * np.array([[1.0], [0.5], [0.25]]))
    return np.asarray((roots + rng.normal(0, noise, (count, 24))) ** 2, np.float32)


def detector(features: np.ndarray, path: Path, components: int = 3) -> NoveltyDetector:
    np.savez(path, **fit_parameters(features, components), unit=np.float32(1))  # type: ignore[arg-type]
    return NoveltyDetector.read(path)


def test_the_score_is_the_mahalanobis_distance_of_standardised_square_roots(tmp_path: Path) -> None:
    train, test = cloud(4000, 0), cloud(50, 1)
    roots = np.sqrt(train.astype(np.float64))
    scale = 1 / np.maximum(roots.std(axis=0), np.median(roots.std(axis=0)))
    centred = (roots - roots.mean(axis=0)) * scale
    covariance = centred.T @ centred / len(centred)
    moved = (np.sqrt(test.astype(np.float64)) - roots.mean(axis=0)) * scale
    full = np.sqrt((moved @ np.linalg.inv(covariance) * moved).sum(axis=1))
    # Sharing the rest's variance is nearly right here, because the noise is the same everywhere but for the scales.
    np.testing.assert_allclose(detector(train, tmp_path / "d.npz").score(test), full, rtol=0.12)


def test_what_leaves_the_span_of_training_is_novel_and_what_stays_is_not(tmp_path: Path) -> None:
    fitted = detector(cloud(2000, 0), tmp_path / "d.npz")
    inside = fitted.score(cloud(300, 1))
    shifted = (np.sqrt(cloud(300, 2)) + np.random.default_rng(3).normal(0, 0.3, (300, 24))) ** 2
    assert fitted.score(shifted.astype(np.float32)).min() > np.quantile(inside, 0.99)


def test_a_feature_that_never_fires_in_training_does_not_decide_alone(tmp_path: Path) -> None:
    train = cloud(2000, 0)
    train[:, 5] = 0
    test = cloud(20, 1)
    test[:, 5] = 0
    touched = test.copy()
    touched[:, 5] = 1e-4
    fitted = detector(train, tmp_path / "d.npz")
    assert np.isfinite(fitted.score(test)).all()
    np.testing.assert_allclose(fitted.score(touched), fitted.score(test), rtol=0.05)


def test_few_slices_give_few_components() -> None:
    assert fit_parameters(cloud(40, 0), 512)["weights"].shape == (10,)
    assert fit_parameters(cloud(4000, 0), 512)["weights"].shape == (12,)
    assert fit_parameters(cloud(4000, 0), 6)["basis"].shape == (24, 6)


class Fixed(Outputs):
    """Answers with a cloud of features instead of running a network; remembers which rows were asked for."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def name(self, choice: str) -> str:
        return "openvino-int8"

    def of(self, choice: str, pixels: np.ndarray, rows: np.ndarray | None = None) -> Output:
        assert rows is not None
        if rows.tolist() not in self.asked:
            self.asked.append(rows.tolist())
        return Output(np.zeros((len(rows), 4), np.float32), cloud(len(rows), self.asked.index(rows.tolist()) + 1))


def test_the_threshold_keeps_the_stated_share_of_validation_and_the_median_slice_scores_one(
    slices: Slices, tmp_path: Path
) -> None:
    outputs, path = Fixed(), tmp_path / "novelty" / "d.npz"
    novelty = fit_novelty(outputs, SERVING, slices, path)
    validation = slices.subset(VALIDATION)
    scores = NoveltyDetector.read(path).score(cloud(len(validation), 2))
    assert np.median(scores) == pytest.approx(1, rel=1e-4)
    assert novelty.keeps == (scores <= novelty.threshold).mean() >= KEEPS
    assert novelty.sha256 == file_sha256(path)
    assert novelty.bytes == path.stat().st_size
    assert novelty.file == "novelty/openvino-int8.npz"


def test_every_family_counts_alike_in_the_fit() -> None:
    many, few = cloud(1000, 0), cloud(50, 1) * np.float32(1.5)
    alike = np.concatenate([np.full(1000, 1 / 1000), np.full(50, 1 / 50)])
    features = np.concatenate([many, few])
    weighted, plain = (fit_parameters(features, 3, weights) for weights in (alike, None))
    middle = (np.sqrt(many).mean(axis=0) + np.sqrt(few).mean(axis=0)) / 2
    np.testing.assert_allclose(weighted["mean"], middle, rtol=1e-5)
    assert np.abs(plain["mean"] - np.sqrt(many).mean(axis=0)).max() < 0.1 * np.abs(middle - np.sqrt(many).mean(0)).max()


def test_the_threshold_keeps_the_stated_share_of_a_family_that_lies_farther_out() -> None:
    scores = np.concatenate([np.linspace(0.5, 1.5, 400), np.linspace(1.4, 2.4, 41)]).astype(np.float32)
    families = [("notumor", "figshare")] * 400 + [("tumour", "br35h")] * 41
    assert _threshold(scores, families) == pytest.approx(2.4 - 0.025, abs=1e-4)
    # A family of nine has no say.
    assert _threshold(scores[:409], families[:409]) == pytest.approx(np.quantile(scores[:409], 0.975, method="higher"))


def test_only_training_groups_are_fitted_on_each_once(slices: Slices, tmp_path: Path) -> None:
    outputs = Fixed()
    novelty = fit_novelty(outputs, SERVING, slices, tmp_path / "d.npz")
    fitted, *judged = outputs.asked
    assert {slices.images[number].subset for number in fitted} == {TRAIN}
    assert {slices.images[number].subset for rows in judged for number in rows} <= {VALIDATION, EXTERNAL_VALIDATION}
    groups = slices.groups[slices.subset(TRAIN)]
    assert novelty.fitted_on == len(fitted) == len(np.unique(groups))
    assert len(np.unique(slices.groups[fitted])) == len(fitted)


def test_one_row_of_each_group_is_taken(slices: Slices) -> None:
    doubled = replace(slices, groups=np.where(slices.groups < 10, 0, slices.groups))
    rows = doubled.first_of_each_group(TRAIN)
    assert len(np.unique(doubled.groups[rows])) == len(rows)
    assert sorted(rows.tolist()) == rows.tolist()
