import math

import numpy as np
import pytest

from loadtests.histogram import Histogram, bucket_of, merged, percentile_ms, share_within, upper_ms


def histogram(values: list[float]) -> Histogram:
    return merged({bucket_of(value): 1} for value in values)


@pytest.mark.parametrize("value", [0.001, 0.5, 12.3, 499.9, 500.0, 29_000.0])
def test_a_bucket_reaches_at_most_one_percent_above_its_values(value: float) -> None:
    edge = upper_ms(bucket_of(value))
    assert value <= edge * (1 + 1e-9)
    assert edge <= max(value * 1.01, 0.0101)


@pytest.mark.parametrize("percent", [50, 95, 99, 100])
def test_percentiles_are_those_of_the_values(percent: float) -> None:
    values = np.random.default_rng(1).lognormal(4, 1, 5000)
    exact = float(np.percentile(values, percent, method="inverted_cdf"))
    assert exact <= percentile_ms(histogram(values.tolist()), percent) <= exact * 1.0101


def test_the_share_within_a_limit_never_flatters() -> None:
    values = [10.0] * 90 + [600.0] * 10
    assert share_within(histogram(values), 500) == 0.9
    assert share_within(histogram(values), 700) == 1.0


def test_nothing_has_no_percentile() -> None:
    assert math.isnan(percentile_ms({}, 95))
    assert math.isnan(share_within({}, 500))
