"""What a series of slices says as a whole: the rule of docs/dicom.md, measured by `training evaluate-series`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from brainmri.model.contract import LABELS
from brainmri.model.novelty import UNSURE

NO_TUMOUR = "notumor"


@dataclass(frozen=True)
class SeriesRule:
    """The thresholds of the rule.

    Attributes:
        tumour_slices: Fewest slices of a tumour. One of more than a few millimetres is in neighbouring slices; a single
            one is more often an error.
        tumour_share: Smallest share of the tumour among the slices that are answered with a class.
        answered: Fewest slices with a class: fewer say nothing about a series.
    """

    tumour_slices: int = 2
    tumour_share: float = 0.2
    answered: int = 3


RULE = SeriesRule()


@dataclass(frozen=True)
class SeriesVerdict:
    """The answer for a series.

    Attributes:
        verdict: A class, or `unsure`.
        slices: How many slices it has here.
        answered: How many of them are answered with a class.
        votes: Class to number of slices; classes without any are left out.
    """

    verdict: str
    slices: int
    answered: int
    votes: Mapping[str, int]


def series_verdict(verdicts: Sequence[str | None], rule: SeriesRule = RULE) -> SeriesVerdict:
    """Returns what the slices of one series say together.

    The tumour with the most slices is the verdict if the rule's thresholds allow it. Without such a tumour the verdict
    is `notumor` if at least half of the answered slices say so, else `unsure`; so it is where too few are answered.

    Args:
        verdicts: Of each slice, in any order; None for one that failed.
        rule: The thresholds.
    """
    return _verdict(Counter(verdicts), rule)


class SeriesVotes:
    """Counts the verdicts of slices by series; its size depends on how many series there are."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str | None]] = {}

    def add(self, series: str | None, verdict: str | None) -> None:
        """Counts one slice; one without a series belongs to none, and one that failed has no verdict."""
        if series is not None:
            self._counts.setdefault(series, Counter())[verdict] += 1

    def verdicts(self) -> dict[str, SeriesVerdict]:
        """Returns the verdict of each series of several slices."""
        return {series: _verdict(counts, RULE) for series, counts in self._counts.items() if counts.total() > 1}


def series_line(series: str, found: SeriesVerdict) -> str:
    """Returns the verdict of a series in words."""
    votes = ", ".join(f"{label} {count}" for label, count in found.votes.items()) or "none"
    return f"Series {series}: {found.verdict}. Of {found.slices} slices {found.answered} have a class: {votes}."


def _verdict(counts: Counter[str | None], rule: SeriesRule) -> SeriesVerdict:
    votes = {label: counts[label] for label in LABELS if counts[label]}
    answered = sum(votes.values())
    tumours = [(count, label) for label, count in votes.items() if label != NO_TUMOUR]
    most, tumour = max(tumours, default=(0, UNSURE))
    if answered < rule.answered:
        verdict = UNSURE
    elif most >= max(rule.tumour_slices, rule.tumour_share * answered):
        verdict = tumour
    else:
        verdict = NO_TUMOUR if 2 * votes.get(NO_TUMOUR, 0) >= answered else UNSURE
    return SeriesVerdict(verdict, counts.total(), answered, votes)
