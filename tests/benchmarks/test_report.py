"""Tests of what a benchmark leaves behind."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.report import Report, table, target


def test_a_report_is_written_as_numbers_and_as_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--rounds", "3"])
    report = Report("end_to_end", {"bundle": "tiny"}, {"pace": [1.5]})
    report.add(*table(["a", "b"], [["1", "2"]]))
    numbers, page = report.write(tmp_path / "deep" / "result")
    content = json.loads(numbers.read_text())
    assert (content["pace"], content["setting"]) == ([1.5], {"bundle": "tiny"})
    assert content["command"] == "python -m benchmarks.end_to_end --rounds 3"
    assert int(content["machine"]["CPUs for this process"]) >= 1
    text = page.read_text()
    assert "- bundle: tiny\n" in text
    assert "- repeat: `python -m benchmarks.end_to_end --rounds 3`\n" in text
    assert text.endswith("| a | b |\n| --- | --- |\n| 1 | 2 |\n")


@pytest.mark.parametrize(
    ("value", "verdict"),
    [((560 / 3) / (160 / 3), "reached"), (3.4999, "missed"), (3.6, "reached")],
)
def test_a_quotient_of_floats_that_equals_what_is_asked_for_reaches_it(value: float, verdict: str) -> None:
    assert target("images/s", value, at_least=3.5)[3] == verdict
    assert target("ms", -value, at_most=-3.5)[3] == verdict
