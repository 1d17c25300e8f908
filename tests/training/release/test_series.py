import numpy as np
import pytest

from brainmri.bulk.series import SeriesRule
from brainmri.errors import DatasetError
from training.data.sources import FIGSHARE, NICKPARVAR
from training.data.split import SplitRow
from training.release.series import (
    SERIES_SLICES,
    Answered,
    Series,
    counts,
    first_of_each_label,
    made_series,
    series_figures,
    slices_to_ask,
)

NORMAL = [Answered("notumor", "", "notumor")] * 45
GLIOMA = [Answered("glioma", "a", "glioma")] * 8
MISSED = [Answered("meningioma", "b", "notumor")] * 3


def row(name: str, source: str, label: str, person: str, subset: str) -> SplitRow:
    return SplitRow(name, source, label, person, name, subset, subset, "", False, 0, 0, 0, 0)


def test_the_slices_of_known_persons_and_normal_ones_are_asked() -> None:
    rows = [
        row("a", FIGSHARE, "glioma", "p1", "test"),
        row("b", FIGSHARE, "glioma", "p2", "validation"),
        row("c", NICKPARVAR, "glioma", "", "test"),
        *(row(f"n{number}", NICKPARVAR, "notumor", "", "test") for number in range(SERIES_SLICES)),
    ]
    chosen = slices_to_ask(rows, "test")
    assert [one.name for one in chosen] == ["a", *(f"n{number}" for number in range(SERIES_SLICES))]
    assert [one.name for one in first_of_each_label(chosen, 2)] == ["a", "n0", "n1"]
    assert first_of_each_label(chosen, 0) == chosen
    with pytest.raises(DatasetError, match="'validation' has 1 tumour slices of known persons and 0 normal"):
        slices_to_ask(rows, "validation")


def test_series_are_made_of_a_person_of_its_slices_among_normal_ones_and_of_normal_ones_alone() -> None:
    kinds = made_series([*NORMAL, *GLIOMA, *MISSED], np.random.default_rng(0))
    persons = [(one.truth, list(one.verdicts)) for one in kinds["persons"]]
    assert persons == [("glioma", ["glioma"] * 8), ("meningioma", ["notumor"] * 3)]
    assert [(one.truth, len(one.verdicts)) for one in kinds["mixed"]] == [("glioma", 20), ("meningioma", 20)]
    assert list(kinds["mixed"][0].verdicts).count("glioma") == 5
    # 45 slices make two series, drawn anew twenty times.
    assert [(one.truth, list(one.verdicts)) for one in kinds["normal"]] == [("notumor", ["notumor"] * 20)] * 40


def test_verdicts_are_counted_by_what_they_got_wrong() -> None:
    found = counts(
        [
            Series("glioma", ["glioma"] * 3),
            Series("glioma", ["pituitary"] * 3),
            Series("glioma", ["notumor"] * 3),
            Series("glioma", ["unsure"] * 3),
            Series("notumor", ["glioma"] * 2 + ["notumor"] * 8),
            Series("notumor", ["notumor"] * 3),
        ],
        SeriesRule(),
    )
    assert found == {"series": 6, "right": 2, "other_tumour": 1, "missed": 1, "unsure": 1, "false_alarm": 1}


def test_the_figures_compare_thresholds() -> None:
    normal = [Answered("notumor", "", "glioma" if number % 10 == 0 else "notumor") for number in range(40)]
    figures = series_figures([*normal, *GLIOMA])
    assert (figures["persons"], figures["mixed"]) == ({"series": 1, "right": 1}, {"series": 1, "right": 1})
    loose = next(one for one in figures["other_rules"] if (one["tumour_slices"], one["tumour_share"]) == (2, 0.1))
    assert loose["normal"]["false_alarm"] > figures["normal"].get("false_alarm", 0)
    assert figures["normal"]["series"] == 40
    assert series_figures([*normal, *GLIOMA]) == figures
