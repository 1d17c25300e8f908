import numpy as np
import pytest

from training.release.detection import detection


def test_slices_are_the_positive_class_and_less_novel() -> None:
    perfect = detection(np.linspace(0.5, 1, 100), np.linspace(2, 3, 40), threshold=1.5)
    assert perfect == {"images": 40, "auroc": 1.0, "fpr95": 0.0, "aupr": 1.0, "passed": 0.0}
    assert detection(np.linspace(2, 3, 100), np.linspace(0.5, 1, 40), threshold=1.5)["auroc"] == 0.0


def test_the_figures_of_a_hand_computed_case() -> None:
    # 19 of 20 slices lie at or below 1.9, and two of the four others do; one of them is below every slice.
    slices = np.arange(0.1, 2.05, 0.1)
    figures = detection(slices, np.array([0.0, 1.85, 2.5, 3.0]), threshold=2.0)
    assert figures["fpr95"] == 0.5
    assert figures["passed"] == 0.5
    assert figures["auroc"] == pytest.approx((0 + 18 + 20 + 20) / 80)
    # Precision after each slice, nearest first: the zero comes before all, 1.85 before the last two.
    precision = [n / (n + 1) for n in range(1, 19)] + [19 / 21, 20 / 22]
    assert figures["aupr"] == pytest.approx(np.mean(precision))


def test_chance_is_one_half() -> None:
    rng = np.random.default_rng(0)
    figures = detection(rng.normal(size=4000) + 9, rng.normal(size=4000) + 9, threshold=9)
    assert figures["auroc"] == pytest.approx(0.5, abs=0.02)
    assert figures["fpr95"] == pytest.approx(0.95, abs=0.02)
    assert figures["passed"] == pytest.approx(0.5, abs=0.03)
