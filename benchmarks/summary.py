"""Statistics of repeated rounds: medians, spreads, and ratios that never mix two rounds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """What several rounds of one measurement gave.

    Attributes:
        median: Their median.
        low: Their smallest.
        high: Their largest.
        rounds: How many there were.
    """

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarises at least one value; one that is not a number makes all of it so."""
        if any(map(math.isnan, values)):
            return cls(math.nan, math.nan, math.nan, len(values))
        return cls(median(values), min(values), max(values), len(values))

    def text(self, digits: int = 1) -> str:
        """Returns the median, and the range of the rounds in brackets."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def ratios(values: Sequence[float], references: Sequence[float]) -> list[float]:
    """Returns the ratio of each round to the reference of the same round, infinite where that is 0.

    Raises:
        ValueError: The two have not the same number of rounds.
    """
    pairs = zip(values, references, strict=True)
    return [value / reference if reference else math.inf for value, reference in pairs]


def percentile(values: Sequence[float], percent: float) -> float:
    """Returns the smallest value that at least `percent` of the values do not exceed; NaN if there are none.

    Args:
        values: In any order.
        percent: Above 0, at most 100.
    """
    if not values:
        return math.nan
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]
