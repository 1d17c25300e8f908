import math

import pytest

from loadtests.record import Record
from loadtests.slo import Slo, StageResult, judge, knee, stage_results
from tests.loadtests.recorded import record_of


def missed(record: Record, slo: Slo, settle_s: float = 0) -> list[tuple[str, str]]:
    findings = judge(record, stage_results(record, settle_s), slo)
    return [(finding.stage, finding.what) for finding in findings if not finding.met]


def test_a_fast_service_without_failures_meets_everything() -> None:
    assert missed(record_of((20, 20, [40])), Slo()) == []


def test_one_failure_in_a_thousand_is_too_much_only_beyond_the_objective() -> None:
    record = record_of((100, 100, [40]))
    record.count_failure("POST /predict", 1003, "status 500")
    assert missed(record, Slo()) == []
    record.count_failure("POST /predict", 1003, "status 500")
    assert missed(record, Slo()) == [("100", "at least 99.9 % answered")]


def test_more_slow_answers_than_allowed_are_missed() -> None:
    assert missed(record_of((20, 20, [40] * 19 + [900])), Slo()) == []
    assert missed(record_of((20, 20, [40] * 18 + [900, 900])), Slo()) == [("20", "at least 95 % within 500 ms")]


def test_refusals_are_no_failures_and_have_a_limit_of_their_own() -> None:
    record = record_of((20, 20, [40]))
    record.count_refusal("POST /predict", 1003)
    assert missed(record, Slo()) == [("20", "at most 0.1 % refused")]
    assert missed(record, Slo(refused=1)) == []


def test_beyond_the_load_that_is_asked_for_only_failures_count() -> None:
    record = record_of((10, 10, [40]), (50, 30, [2000]))
    for _ in range(20):
        record.count_refusal("POST /predict", 1016)
    assert missed(record, Slo(up_to=10)) == []
    record.count_failure("POST /predict", 1016, "status 500")
    assert missed(record, Slo(up_to=10)) == [("50", "at least 99.9 % answered")]


def test_the_first_seconds_of_a_stage_can_be_left_out() -> None:
    record = record_of((20, 20, [40]))
    for _ in range(30):
        record.count_answer("POST /predict", 1000, 5000, 1)
    assert missed(record, Slo()) == [("20", "at least 95 % within 500 ms")]
    assert missed(record, Slo(), settle_s=1) == []


def test_a_generator_that_did_not_keep_up_is_told_in_an_open_loop_only() -> None:
    slow = record_of((50, 50, [40]))
    slow.spans[0] = type(slow.spans[0])("50", 100, slow.spans[0].start, slow.spans[0].end)
    assert missed(slow, Slo()) == [("50", "the generator sent at least 874 requests")]
    slow.about["loop"] = "closed"
    assert missed(slow, Slo()) == []


def test_a_run_that_ended_early_or_saw_nothing_fails() -> None:
    record = record_of((20, 20, [40]))
    record.ended_early = "1000 requests were sent"
    assert missed(record, Slo()) == [("run", "runs to its end")]
    assert missed(Record(), Slo()) == [("run", "has stages")]
    assert len(missed(record_of((0, 0, [40])), Slo())) == 3


def test_a_kind_without_requests_fails_the_run() -> None:
    record = record_of((20, 20, [40]))
    record.kinds = ["POST /predict"]
    assert missed(record, Slo()) == []
    record.kinds = ["POST /predict", "POST /predict_batch"]
    finding = next(each for each in judge(record, [], Slo()) if each.what == "requests of every kind")
    assert (finding.met, finding.value) == (False, "none of POST /predict_batch")


def result(load: float, throughput: float) -> StageResult:
    return StageResult(f"{load:g}", load, 10, 100, 0, 0, round(throughput * 10), 100, {1: 100})


@pytest.mark.parametrize(
    ("curve", "load"),
    [
        ([(5, 5), (10, 10), (20, 20), (40, 40), (60, 44), (80, 45)], 40),
        ([(5, 5), (10, 10), (20, 20), (40, 24), (60, 20), (80, 15)], 20),
        ([(1, 10), (2, 19), (4, 30), (8, 32), (16, 33), (32, 33)], 4),
    ],
)
def test_the_knee_is_where_throughput_stops_following(curve: list[tuple[float, float]], load: float) -> None:
    found = knee([result(*point) for point in curve])
    assert found is not None
    assert found.load == load


@pytest.mark.parametrize("curve", [[(5, 5), (10, 10), (20, 20)], [(5, 5), (80, 20)], [(5, 0), (10, 0), (20, 0)], []])
def test_a_curve_that_does_not_bend_has_no_knee(curve: list[tuple[float, float]]) -> None:
    assert knee([result(*point) for point in curve]) is None


def test_a_stage_without_answers_has_no_latency() -> None:
    empty = StageResult("none", 5, 0, 0, 0, 0, 0, 0, {})
    assert all(
        math.isnan(value)
        for value in (empty.latency_ms(95), empty.throughput_per_s, empty.answered_percent, empty.within_percent(500))
    )
