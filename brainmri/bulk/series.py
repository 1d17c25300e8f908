"""What a series of slices says as a whole, by the rule in docs/images.md; its thresholds have not been measured."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from brainmri.model.contract import LABELS
from brainmri.model.novelty import UNSURE

NO_TUMOUR = "notumor"

MIN_TUMOUR_SLICES = 2
"""A tumour of more than a few millimetres is in neighbouring slices; one slice alone is more often an error."""

MIN_TUMOUR_SHARE = 0.2
"""Of the slices that are answered with a class."""

MIN_ANSWERED = 3
"""Fewer answered slices say nothing about a series."""


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


def series_verdict(verdicts: Sequence[str | None]) -> SeriesVerdict:
    """Returns what the slices of one series say together.

    The tumour with the most slices is the verdict if it has at least `MIN_TUMOUR_SLICES` of them, and
    `MIN_TUMOUR_SHARE` of those that are answered with a class. Without such a tumour the verdict is `notumor` if
    at least half of the answered slices say so, else `unsure`; so it is with fewer than `MIN_ANSWERED` of them.

    Args:
        verdicts: Of each slice, in any order; None for one that failed.
    """
    votes = Counter(verdict for verdict in verdicts if verdict in LABELS)
    answered = votes.total()
    tumours = [(count, label) for label, count in votes.items() if label != NO_TUMOUR]
    most, tumour = max(tumours, default=(0, UNSURE))
    if answered < MIN_ANSWERED:
        verdict = UNSURE
    elif most >= max(MIN_TUMOUR_SLICES, MIN_TUMOUR_SHARE * answered):
        verdict = tumour
    else:
        verdict = NO_TUMOUR if 2 * votes[NO_TUMOUR] >= answered else UNSURE
    return SeriesVerdict(verdict, len(verdicts), answered, dict(votes))


def by_series(slices: Iterable[tuple[str | None, str | None]]) -> dict[str, SeriesVerdict]:
    """Returns the verdict of each series of several slices.

    Args:
        slices: Series and verdict of each slice; a slice without a series belongs to none.
    """
    found: dict[str, list[str | None]] = defaultdict(list)
    for series, verdict in slices:
        if series is not None:
            found[series].append(verdict)
    return {series: series_verdict(verdicts) for series, verdicts in found.items() if len(verdicts) > 1}
