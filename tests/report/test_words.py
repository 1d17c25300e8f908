from dataclasses import replace

import pytest

from brainmri.report.words import exact, in_words, percent
from tests.report.reports import prediction


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (1.0, "100 %"),
        (0.996, "more than 99 %"),
        (0.005, "1 %"),
        (0.0049, "less than 1 %"),
        (0.0, "0 %"),
        (0.125, "13 %"),
    ],
)
def test_shares_are_neither_rounded_to_certainty_nor_to_nothing(share: float, words: str) -> None:
    assert percent(share) == words


def test_each_verdict_has_its_sentence() -> None:
    sure, unsure = prediction("notumor", 0.98), prediction("glioma", 0.46, "unsure")
    foreign = replace(prediction("glioma"), label=None, verdict="not_a_brain_mri")
    assert in_words(sure).sentence == "Most like a slice without a tumour; 98 % sure."
    assert in_words(unsure).sentence == "Not sure: glioma 46 %, meningioma 18 %."
    assert in_words(foreign).sentence == "This does not look like a brain MRI, so no class is given."
    named = replace(foreign, label="notumor")
    assert in_words(named).more == "This server names a class for such pictures all the same: no tumour."
    assert exact(0.9812) == "98.1 %"
