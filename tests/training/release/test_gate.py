"""The release gate: one row for each way in which a figure may miss, and the committed table itself."""

from pathlib import Path

import pytest

from brainmri.errors import DatasetError
from training.release.gate import Bar, lookup, read_bars, shortfalls

AT_LEAST = Bar("person.macro_f1", 0.96, 0.96, False, "")
AT_MOST = Bar("person.ece", 0.02, 0.02, True, "")


@pytest.mark.parametrize(
    ("metrics", "bar", "said"),
    [
        ({"person": {"macro_f1": 0.97}}, AT_LEAST, []),
        ({"person": {"macro_f1": 0.96}}, AT_LEAST, []),
        ({"person": {"macro_f1": 0.9599}}, AT_LEAST, ["person.macro_f1 is 0.9599; required: at least 0.96"]),
        ({"person": {"ece": 0.02}}, AT_MOST, []),
        ({"person": {"ece": 0.0251}}, AT_MOST, ["person.ece is 0.0251; required: at most 0.02"]),
        ({"person": {}}, AT_LEAST, ["person.macro_f1 was not measured; required: at least 0.96"]),
        ({}, AT_MOST, ["person.ece was not measured; required: at most 0.02"]),
        ({"person": 3}, AT_MOST, ["person.ece was not measured; required: at most 0.02"]),
        ({"person": {"macro_f1": None}}, AT_LEAST, ["person.macro_f1 was not measured; required: at least 0.96"]),
        ({"person": {"macro_f1": "good"}}, AT_LEAST, ["person.macro_f1 was not measured; required: at least 0.96"]),
        ({"person": {"macro_f1": float("nan")}}, AT_LEAST, ["person.macro_f1 is nan; required: at least 0.96"]),
        ({"person": {"ece": float("nan")}}, AT_MOST, ["person.ece is nan; required: at most 0.02"]),
    ],
)
def test_each_kind_of_miss_is_a_line(metrics: dict[str, object], bar: Bar, said: list[str]) -> None:
    assert shortfalls(metrics, [bar]) == said


def test_what_is_required_decides_and_not_the_goal() -> None:
    lowered = Bar("person.macro_f1", 0.96, 0.93, False, "few persons")
    assert shortfalls({"person": {"macro_f1": 0.94}}, [lowered]) == []
    assert shortfalls({"person": {"macro_f1": 0.92}}, [lowered]) == [
        "person.macro_f1 is 0.9200; required: at least 0.93"
    ]


def test_every_miss_has_a_line_of_its_own() -> None:
    assert len(shortfalls({"person": {"ece": 0.3}}, [AT_LEAST, AT_MOST])) == 2


def test_dots_mean_nesting() -> None:
    assert lookup({"a": {"b": {"c": 0.5}}}, "a.b.c") == 0.5
    assert lookup({"a": {"b": {"c": 2}}}, "a.b.c") == 2.0
    assert lookup({"a.b": 1}, "a.b") is None


def test_a_row_is_read_with_its_direction_goal_and_reason(tmp_path: Path) -> None:
    table = tmp_path / "minimums.yaml"
    table.write_text("a.b: {at_least: 0.9}\nc: {at_most: 0.1, required: 0.2, reason: too few images}\n")
    assert read_bars(table) == [Bar("a.b", 0.9, 0.9, False, ""), Bar("c", 0.1, 0.2, True, "too few images")]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a: {at_least: 0.9, required: 0.8}", r"a requires 0\.8 instead of 0\.9 without a reason"),
        ("a: {required: 0.8}", "a has neither at_least nor at_most"),
    ],
)
def test_a_table_that_lowers_the_bar_in_silence_is_refused(tmp_path: Path, row: str, said: str) -> None:
    (tmp_path / "minimums.yaml").write_text(row)
    with pytest.raises(DatasetError, match=said):
        read_bars(tmp_path / "minimums.yaml")


def test_the_committed_goals_are_those_that_the_project_set_itself() -> None:
    goals = {bar.figure: (bar.goal, "at most" if bar.at_most else "at least") for bar in read_bars()}
    expected = {
        "person.macro_f1": (0.96, "at least"),
        **{f"person.recall.{label}": (0.92, "at least") for label in ("glioma", "meningioma", "notumor", "pituitary")},
        "person.unsure": (0.10, "at most"),
        "person.accuracy_at_95_coverage": (0.98, "at least"),
        "person.ece": (0.02, "at most"),
        "external.br35h.found": (0.95, "at least"),
        "external.br35h.called_notumor": (0.02, "at most"),
        "external.br35h.refused": (0.05, "at most"),
        "external.br35h.unsure": (0.15, "at most"),
        "external.br35h_unseen.found": (0.85, "at least"),
        "normal.called_notumor": (0.95, "at least"),
        "novelty.far.auroc": (0.995, "at least"),
        "novelty.far.fpr95": (0.02, "at most"),
    }
    assert {figure: goals.get(figure) for figure in expected} == expected
