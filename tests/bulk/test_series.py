import pytest

from brainmri.bulk.series import SeriesVerdict, SeriesVotes, series_line, series_verdict


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [
        (["glioma"] * 2 + ["notumor"] * 8, "glioma"),
        (["glioma"] * 2 + ["notumor"] * 9, "notumor"),
        (["glioma"] + ["notumor"] * 2, "notumor"),
        (["glioma"] * 3 + ["meningioma"] * 4 + ["notumor"] * 5, "meningioma"),
        (["notumor"] * 2 + ["unsure"] * 20, "unsure"),
        (["notumor"] * 3 + ["not_a_brain_mri"] * 20, "notumor"),
        (["glioma", "meningioma", "pituitary", "notumor"], "unsure"),
        ([None] * 5, "unsure"),
    ],
)
def test_the_verdict_of_a_series_follows_from_those_of_its_slices(verdicts: list[str | None], verdict: str) -> None:
    assert series_verdict(verdicts).verdict == verdict
    assert series_verdict(verdicts[::-1]).verdict == verdict


def test_it_says_how_many_slices_it_rests_on() -> None:
    found = series_verdict(["glioma", "glioma", "unsure", None, "notumor"])
    assert found == SeriesVerdict("glioma", 5, 3, {"glioma": 2, "notumor": 1})


def test_slices_are_grouped_by_series_and_single_ones_have_no_verdict() -> None:
    slices = [("a", "notumor"), ("b", "glioma"), (None, "glioma"), ("a", "notumor"), ("a", "unsure")]
    votes = SeriesVotes()
    for series, verdict in slices:
        votes.add(series, verdict)
    found = SeriesVerdict("unsure", 3, 2, {"notumor": 2})
    assert votes.verdicts() == {"a": found}
    assert series_line("a", found) == "Series a: unsure. Of 3 slices 2 have a class: notumor 2."
