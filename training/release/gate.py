"""The release gate: which figures a release has to reach, and whether a bundle does."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from brainmri.errors import DatasetError

MINIMUMS = Path(__file__).with_name("minimums.yaml")


@dataclass(frozen=True)
class Bar:
    """What one figure has to reach.

    Attributes:
        figure: Its place in `metrics.json`, dots meaning nesting.
        goal: What we aim for.
        required: What a release has to reach: the goal, or less with a reason.
        at_most: The figure has to be this or smaller, rather than this or larger.
        reason: Why less than the goal is required; empty where it is the goal.
    """

    figure: str
    goal: float
    required: float
    at_most: bool
    reason: str

    def is_met(self, value: float) -> bool:
        """Returns whether a measured value is good enough."""
        return value <= self.required if self.at_most else value >= self.required


def read_bars(path: Path = MINIMUMS) -> list[Bar]:
    """Reads the table of minimums.

    Raises:
        DatasetError: A row asks for less than its goal without a reason, or names no goal.
    """
    bars = []
    for figure, row in yaml.safe_load(path.read_text()).items():
        at_most = "at_most" in row
        try:
            goal = float(row["at_most"] if at_most else row["at_least"])
        except KeyError:
            raise DatasetError(f"{path}: {figure} has neither at_least nor at_most.") from None
        required = float(row.get("required", goal))
        reason = str(row.get("reason", ""))
        if required != goal and not reason:
            raise DatasetError(f"{path}: {figure} requires {required} instead of {goal} without a reason.")
        bars.append(Bar(figure, goal, required, at_most, reason))
    return bars


def shortfalls(metrics: Mapping[str, Any], bars: list[Bar]) -> list[str]:
    """Returns a sentence for each figure that is missing from `metrics` or below what is required."""
    lines = []
    for bar in bars:
        value = lookup(metrics, bar.figure)
        relation = "at most" if bar.at_most else "at least"
        if value is None:
            lines.append(f"{bar.figure} was not measured; required: {relation} {bar.required:g}")
        elif not bar.is_met(value):
            lines.append(f"{bar.figure} is {value:.4f}; required: {relation} {bar.required:g}")
    return lines


def lookup(metrics: Mapping[str, Any], figure: str) -> float | None:
    """Returns the number at a dotted place of nested mappings, or None where there is none."""
    found: Any = metrics
    for part in figure.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return float(found) if isinstance(found, (int, float)) else None
