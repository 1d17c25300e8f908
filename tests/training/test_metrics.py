import numpy as np
import pytest
from scipy.special import softmax

from training import metrics


def certain(predicted: list[int], confidence: float = 0.97) -> np.ndarray:
    rest = (1 - confidence) / 3
    return np.where(np.eye(4)[predicted] == 1, confidence, rest)


def test_classification_of_a_hand_computed_case() -> None:
    labels = np.array([0, 0, 1, 2, 3])
    figures = metrics.classification(certain([0, 1, 1, 2, 3]), labels)
    assert figures["accuracy"] == pytest.approx(0.8)
    assert figures["per_class"]["glioma"]["recall"] == pytest.approx(0.5)
    assert figures["per_class"]["meningioma"]["precision"] == pytest.approx(0.5)
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1 + 1) / 4)
    assert figures["confusion"][0] == [1, 1, 0, 0]
    assert figures["log_loss"] == pytest.approx((4 * -np.log(0.97) - np.log(0.01)) / 5)
    assert figures["brier"] == pytest.approx((4 * (0.03**2 + 3 * 0.01**2) + 0.99**2 + 0.97**2 + 2 * 0.01**2) / 5)


def test_a_class_without_images_has_no_area_under_the_curve() -> None:
    figures = metrics.classification(certain([0, 1]), np.array([0, 1]))
    assert figures["per_class"]["pituitary"]["roc_auc"] is None
    assert figures["per_class"]["glioma"]["roc_auc"] == 1.0


def test_wilson_interval_of_a_published_example() -> None:
    # Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662.
    assert metrics.wilson(81, 263) == pytest.approx([0.2553, 0.3662], abs=1e-4)
    assert metrics.wilson(0, 0) == [0.0, 1.0]
    assert metrics.wilson(10, 10)[1] == pytest.approx(1.0)


def test_ece_is_the_gap_between_confidence_and_accuracy() -> None:
    labels = np.array([0] * 70 + [1] * 30)
    assert metrics.ece(certain([0] * 100, 0.7), labels, bins=1) == pytest.approx(0.0, abs=1e-12)
    assert metrics.ece(certain([0] * 100, 0.9), labels, bins=1) == pytest.approx(0.2)


def test_a_calibrated_model_on_many_images_has_an_ece_near_what_is_predicted_for_it() -> None:
    rng = np.random.default_rng(0)
    probabilities = softmax(rng.normal(0, 2, (3000, 4)), axis=1)
    labels = np.array([rng.choice(4, p=row) for row in probabilities])
    expected = metrics.ece_if_calibrated(probabilities, rounds=100)
    assert 0.005 < expected < 0.03
    assert metrics.ece(probabilities, labels) < 2 * expected


def test_temperature_undoes_a_known_scaling() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (5000, 4))
    labels = np.array([rng.choice(4, p=row) for row in softmax(logits, axis=1)])
    assert metrics.fit_temperature(logits * 2.5, labels) == pytest.approx(2.5, rel=0.06)


def test_augrc_and_coverage_reward_errors_of_low_confidence() -> None:
    labels = np.array([0, 0, 0, 0])
    wrong_last = np.stack([certain([0], c)[0] for c in (0.99, 0.9, 0.8)] + [certain([1], 0.5)[0]])
    wrong_first = np.stack([certain([0], c)[0] for c in (0.7, 0.6, 0.5)] + [certain([1], 0.99)[0]])
    assert metrics.augrc(wrong_last, labels) == pytest.approx(1 / 16)
    assert metrics.augrc(wrong_first, labels) == pytest.approx(4 / 16)
    assert metrics.accuracy_at_coverage(wrong_last, labels, 0.75) == 1.0
    assert metrics.accuracy_at_coverage(wrong_first, labels, 0.75) == pytest.approx(2 / 3)


def test_the_bootstrap_draws_whole_groups() -> None:
    values = np.array([1.0] * 50 + [0.0] * 50)
    by_image = metrics.bootstrap_interval(lambda i: float(values[i].mean()), np.arange(100))
    by_group = metrics.bootstrap_interval(lambda i: float(values[i].mean()), np.repeat([0, 1], 50))
    assert by_image == pytest.approx([0.40, 0.60], abs=0.03)
    assert by_group == [0.0, 1.0]


def test_macro_f1_counts_a_class_that_is_never_found_as_zero() -> None:
    assert metrics.macro_f1(np.array([0, 1, 2, 0]), np.array([0, 1, 2, 3])) == pytest.approx((2 / 3 + 1 + 1 + 0) / 4)
