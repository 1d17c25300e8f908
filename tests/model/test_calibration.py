import numpy as np
import pytest

from brainmri.model.calibration import probabilities


def test_temperature_one_is_softmax() -> None:
    result = probabilities(np.log(np.array([[1, 2, 3, 4]], np.float32)), 1.0)
    np.testing.assert_allclose(result, [[0.1, 0.2, 0.3, 0.4]], rtol=1e-6)
    assert result.dtype == np.float32


def test_temperature_divides_the_logits() -> None:
    result = probabilities(np.log(np.array([[1, 16]], np.float32)), 2.0)
    np.testing.assert_allclose(result, [[0.2, 0.8]], rtol=1e-6)


def test_huge_logits_do_not_overflow() -> None:
    result = probabilities(np.array([[3e38, -3e38], [1e4, 1e4]], np.float32), 0.5)
    np.testing.assert_array_equal(result, [[1, 0], [0.5, 0.5]])


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        probabilities(np.zeros((1, 4), np.float32), temperature)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_logit_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        probabilities(np.array([[0, value]], np.float32), 1.0)
