"""What a series of slices says as a whole: the rule of docs/dicom.md, measured by `training evaluate-series`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from brainmri.model.contract import RELEASED_CLASSES, Classes
from brainmri.model.novelty import UNSURE


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


def series_verdict(
    verdicts: Sequence[str | None], rule: SeriesRule = RULE, classes: Classes = RELEASED_CLASSES
) -> SeriesVerdict:
    """Returns what the slices of one series say together.

    The tumour with the most slices is the verdict if the rule's thresholds allow it. Without such a tumour the verdict
    is the label for "no tumour" if at least half of the answered slices say so, else `unsure`; so it is where too few
    are answered. Of a model without such a label, every class counts as a tumour does.

    Args:
        verdicts: Of each slice, in any order; None for one that failed.
        rule: The thresholds.
        classes: What the model tells apart.
    """
    return _verdict(Counter(verdicts), rule, classes)


class SeriesVotes:
    """Counts the verdicts of slices by series; its size depends on how many series there are.

    Args:
        classes: What the model tells apart.
    """

    def __init__(self, classes: Classes = RELEASED_CLASSES) -> None:
        self._classes = classes
        self._counts: dict[str, Counter[str | None]] = {}

    def add(self, series: str | None, verdict: str | None) -> None:
        """Counts one slice; one without a series belongs to none, and one that failed has no verdict."""
        if series is not None:
            self._counts.setdefault(series, Counter())[verdict] += 1

    def verdicts(self) -> dict[str, SeriesVerdict]:
        """Returns the verdict of each series of several slices."""
        several = {series: counts for series, counts in self._counts.items() if counts.total() > 1}
        return {series: _verdict(counts, RULE, self._classes) for series, counts in several.items()}


def series_line(series: str, found: SeriesVerdict) -> str:
    """Returns the verdict of a series in words."""
    votes = ", ".join(f"{label} {count}" for label, count in found.votes.items()) or "none"
    return f"Series {series}: {found.verdict}. Of {found.slices} slices {found.answered} have a class: {votes}."


def _verdict(counts: Counter[str | None], rule: SeriesRule, classes: Classes) -> SeriesVerdict:
    votes = {label: counts[label] for label in classes.labels if counts[label]}
    answered = sum(votes.values())
    tumours = [(count, label) for label, count in votes.items() if label != classes.no_tumor]
    most, tumour = max(tumours, default=(0, UNSURE))
    if answered < rule.answered:
        verdict = UNSURE
    elif most >= max(rule.tumour_slices, rule.tumour_share * answered):
        verdict = tumour
    elif classes.no_tumor is not None and 2 * votes.get(classes.no_tumor, 0) >= answered:
        verdict = classes.no_tumor
    else:
        verdict = UNSURE
    return SeriesVerdict(verdict, counts.total(), answered, votes)
