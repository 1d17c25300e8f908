import json
from pathlib import Path

import pytest

from loadtests.record import MOST_FAULTS, BadRecord, Record, Span, read_record


def test_a_request_counts_when_it_was_due_and_its_answer_when_it_came() -> None:
    record = Record()
    record.count_answer("POST /predict", due=100.5, latency_ms=1700, images=8)
    due, came = record.tallies[100, "POST /predict"], record.tallies[102, "POST /predict"]
    assert (due.due, due.answered, due.finished) == (1, 1, 0)
    assert (came.due, came.finished, came.images) == (0, 1, 8)


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    record = Record({"loop": "open"}, [Span("5", 5, 100, 120)], ended_early="no")
    record.count_answer("a", 100, 20, 1)
    record.count_refusal("a", 101)
    record.count_failure("b", 101, "status 500")
    record.write(tmp_path / "deep" / "record.json")
    assert read_record(tmp_path / "deep" / "record.json") == record


def test_the_counts_of_workers_add_up() -> None:
    worker, total = Record(), Record()
    for _ in range(2):
        worker.count_answer("a", 100, 20, 1)
        worker.count_failure("a", 100, "status 500")
        # Messages between Locust's processes carry lists and texts only.
        total.merge(json.loads(json.dumps(worker.counts())))
        worker.clear_counts()
    assert (total.tallies[100, "a"].answered, total.tallies[100, "a"].failed, total.requests()) == (2, 2, 4)
    assert total.faults == {"a: status 500": 2}


def test_the_number_of_different_faults_is_bounded() -> None:
    record = Record()
    for number in range(MOST_FAULTS + 20):
        record.count_failure("a", 100, f"{number}")
    assert len(record.faults) == MOST_FAULTS + 1
    assert record.faults["others"] == 20


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "no record"), ("{}", "no record"), ("[]", "no record"), ('{"schema": 0}', "has schema 0")],
)
def test_another_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(BadRecord, match=message):
        read_record(tmp_path / "file")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRecord, match="cannot be read: No such file"):
        read_record(tmp_path / "file")
