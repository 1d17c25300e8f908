"""What rows say together: counts by label, verdict and failure."""

from collections import Counter
from dataclasses import dataclass, field

from brainmri.bulk.rows import FAILED, NO_LABEL
from brainmri.model.contract import RELEASED_CLASSES, Classes

COUNTED = ("status", "label", "verdict", "confidence", "error_code")
"""The columns of a row that `Totals.add` counts, in the order of its arguments."""


@dataclass
class ClassCount:
    """The images of one label.

    Attributes:
        images: How many there are.
        confidence_sum: Of the largest probabilities.
        verdicts: Verdict to number of images.
    """

    images: int = 0
    confidence_sum: float = 0.0
    verdicts: Counter[str] = field(default_factory=Counter)

    @property
    def mean_confidence(self) -> float:
        """Mean of the largest probability; 0 without images."""
        return self.confidence_sum / self.images if self.images else 0.0


class Totals:
    """Counts rows; its size does not depend on how many there are.

    Args:
        classes: What the model tells apart.

    Attributes:
        images: All rows.
        failed: Rows without an answer.
        classes: Label, or `NO_LABEL`, to its images, in the order of the contract.
        failures: Error code to number of images.
    """

    def __init__(self, classes: Classes = RELEASED_CLASSES) -> None:
        self.images = 0
        self.failed = 0
        self.classes = {label: ClassCount() for label in (*classes.labels, NO_LABEL)}
        self.failures: Counter[str] = Counter()

    @property
    def labels(self) -> dict[str, int]:
        """Label to number of images, of labels that occur; `NO_LABEL` where the service abstains."""
        return {label: count.images for label, count in self.classes.items() if count.images}

    @property
    def verdicts(self) -> Counter[str]:
        """Verdict to number of images."""
        return sum((count.verdicts for count in self.classes.values()), Counter())

    def add(
        self, status: str, label: str | None, verdict: str | None, confidence: float | None, error_code: str | None
    ) -> None:
        """Counts one row by its columns `COUNTED`; see `brainmri.bulk.rows.Row`."""
        self.images += 1
        if status == FAILED:
            self.failed += 1
            self.failures[error_code or NO_LABEL] += 1
            return
        count = self.classes[label or NO_LABEL]
        count.images += 1
        count.confidence_sum += confidence or 0.0
        count.verdicts[verdict or NO_LABEL] += 1
