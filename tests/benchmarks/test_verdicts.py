"""Tests of what overload, corrupt images and soak conclude from what was seen."""

import math

import pytest

from benchmarks.corrupt import REFUSAL, misjudged, mixture
from benchmarks.overload import judge, seconds_until_normal
from benchmarks.report import target
from benchmarks.soak import around
from benchmarks.traffic import Exchange, Item, Load, Record
from benchmarks.watch import Sample, at

GOOD, BAD = [Item(b"a", "glioma"), Item(b"b", "pituitary")], [Item(b"x", REFUSAL), Item(b"y", REFUSAL)]


def test_every_hundredth_request_is_corrupt() -> None:
    items = mixture(GOOD, BAD)
    assert len(items) == 200
    assert [number for number, item in enumerate(items) if item.expected == REFUSAL] == [99, 199]
    assert [items[0], items[1], items[2], items[199]] == [GOOD[0], GOOD[1], GOOD[0], BAD[1]]


def test_good_images_harmed_and_corrupt_ones_spared_are_told_apart() -> None:
    items = [*GOOD, *BAD]
    right = [Exchange(0, 0, 1, "200", None, "glioma"), Exchange(2, 0, 1, "400", None, REFUSAL)]
    harmed = [
        Exchange(0, 0, 1, "400", None, REFUSAL),
        Exchange(1, 0, 1, "lost"),
        Exchange(1, 0, 1, "200", None, "glioma"),
    ]
    spared = [Exchange(3, 0, 1, "200", None, "glioma")]
    assert misjudged(Record("r", [*right, *harmed, *spared]), items) == (harmed, spared)


def overload_load() -> Load:
    before = [Exchange(0, due, 0.010, "200") for due in range(10)]
    heavy = [
        *(Exchange(0, 10 + number / 2, 1.0, "200") for number in range(40)),
        *(Exchange(0, 10 + number / 2, 0.002, "429", 1.0) for number in range(40)),
        Exchange(0, 29, 0.1, "503"),
        Exchange(0, 29, 0.1, "lost"),
    ]
    after = [Exchange(0, 30.5, 0.8, "200"), Exchange(0, 31.5, 0.3, "200"), Exchange(0, 32.5, 0.014, "200")]
    return Load([Record("before", before), Record("overload", heavy, unsent=3), Record("after", after)], 45, 8.2)


def test_an_overload_is_judged_by_goodput_refusals_memory_and_return() -> None:
    memory = [Sample(at_s, 100 + at_s) for at_s in range(0, 45)]
    result = judge(overload_load(), memory, capacity_per_s=2.0, begin_s=10, end_s=30)
    # Of 40 results two ended after the last arrival.
    assert result.goodput_per_s == 38 / 20
    assert result.statuses == {"200": 40, "429": 40, "503": 1, "lost": 1}
    assert (result.without_retry, result.unexplained, result.unsent) == (1, 1, 3)
    assert result.arrivals_per_s == 82 / 20
    assert result.quiet_p50_ms == pytest.approx(10)
    assert result.back_s == 2
    assert result.growth == 130 / 115


def test_a_latency_that_stays_high_never_returns() -> None:
    after = Record("after", [Exchange(0, 30 + number / 10, 0.5, "200") for number in range(150)])
    assert math.isinf(seconds_until_normal(after, 10, 30))


def test_a_refusal_is_no_return_to_normal() -> None:
    after = Record(
        "after", [Exchange(0, 30.2, 0.001, "429"), Exchange(0, 30.4, 0.01, "200"), Exchange(0, 31, 0.01, "200")]
    )
    assert seconds_until_normal(after, 10, 30) == 1


def test_memory_is_read_near_a_time() -> None:
    memory = [Sample(at_s, float(at_s)) for at_s in range(0, 601, 10)]
    assert around(memory, 300) == 300
    assert around(memory, 600) == 570
    assert at(memory, 301) == 310
    assert at(memory, 9000) == 600


@pytest.mark.parametrize(("value", "verdict"), [(0.92, "reached"), (0.9199, "missed"), (math.nan, "missed")])
def test_a_figure_is_reached_or_missed(value: float, verdict: str) -> None:
    assert target("ratio", value, at_least=0.92)[3] == verdict


@pytest.mark.parametrize(("value", "verdict"), [(4, "reached"), (4.01, "missed"), (math.inf, "missed")])
def test_a_cost_is_reached_or_missed(value: float, verdict: str) -> None:
    assert target("ms", value, at_most=4) == ["ms", "at most 4", f"{value:.3g}", verdict]
