import numpy as np
import pytest

from brainmri.model.runtimes.protocol import Output
from training import metrics
from training.data.slices import Slices
from training.data.sources import VALIDATION
from training.release.calibrate import COVERAGE, calibrate, lowest_confidence
from training.release.outputs import SERVING, Outputs


def test_the_lowest_confidence_is_reached_by_the_stated_share() -> None:
    confidence = np.linspace(0.3, 0.99, 200)
    limit = lowest_confidence(confidence, 0.95)
    assert (confidence >= limit).mean() >= 0.95
    assert (confidence > limit).mean() < 0.95 + 1 / 200


def test_equal_confidences_are_all_kept() -> None:
    assert lowest_confidence(np.full(10, 0.7), 0.95) == pytest.approx(0.7)


def test_a_group_counts_once_in_the_temperature() -> None:
    # One overconfident mistake, copied nine times: its group weighs as much as each other image.
    logits = np.array([[4.0, 0, 0, 0]] * 20 + [[0, 4.0, 0, 0]] * 10, np.float32)
    labels = np.array([0] * 20 + [0] * 10)
    once = metrics.fit_temperature(np.concatenate([logits[:20], logits[20:21]]), labels[:21])
    weights = np.array([1.0] * 20 + [0.1] * 10)
    assert metrics.fit_temperature(logits, labels, weights) == pytest.approx(once, rel=1e-3)
    assert metrics.fit_temperature(logits, labels) > 1.5 * once


class Known(Outputs):
    """Logits that are sure of every validation image but the first."""

    def __init__(self, labels: np.ndarray) -> None:
        logits = 6.0 * np.eye(4)[labels]
        logits[0] = 0
        self._logits = logits.astype(np.float32)

    def name(self, choice: str) -> str:
        return "openvino-int8"

    def of(self, choice: str, pixels: np.ndarray, rows: np.ndarray | None = None) -> Output:
        assert rows is not None
        assert len(rows) == len(self._logits)
        return Output(self._logits, np.zeros((len(rows), 2), np.float32))


def test_calibration_is_fitted_on_validation_alone(slices: Slices) -> None:
    rows = slices.subset(VALIDATION)
    calibration = calibrate(Known(slices.labels[rows]), SERVING, slices)
    assert calibration.runtime == "openvino-int8"
    assert calibration.coverage >= COVERAGE
    # All but one answer are right: more confidence is due than the logits show.
    assert calibration.temperature < 1
    assert calibration.novelty is None
