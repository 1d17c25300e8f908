"""Tests of the statistics of repeated rounds."""

import math

import pytest

from benchmarks.summary import Spread, percentile, ratios


def test_a_spread_is_the_median_and_the_range() -> None:
    assert Spread.of([3.0, 1.0, 10.0, 2.0]) == Spread(median=2.5, low=1.0, high=10.0, rounds=4)
    assert Spread.of([0.94, 0.9312]).text(2) == "0.94 (0.93 to 0.94)"


def test_a_round_without_a_number_is_not_hidden() -> None:
    spread = Spread.of([1.0, math.nan, 2.0])
    assert math.isnan(spread.median)
    assert spread.rounds == 3


def test_ratios_stay_within_their_round() -> None:
    assert ratios([90, 40], [100, 50]) == [0.9, 0.8]
    # A peer that answers nothing within a load does not end the run.
    assert ratios([90, 40], [0, 50]) == [math.inf, 0.8]


def test_rounds_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (95, 95), (99, 99), (100, 100), (0.5, 1)])
def test_a_percentile_is_one_of_the_values(percent: float, value: int) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == value


def test_nothing_has_no_percentile() -> None:
    assert math.isnan(percentile([], 50))
