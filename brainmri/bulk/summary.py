"""What a run says as a whole: counts by class, verdict and failure, and how sure and how novel the images are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from brainmri.bulk.rows import FAILED, NO_LABEL
from brainmri.model.contract import LABELS

CONFIDENCE_EDGES = tuple(np.linspace(0, 1, 21).round(2).tolist())
NOVELTY_EDGES = tuple(np.linspace(0, 5, 26).round(1).tolist())
"""In units of the median training slice; the last bin takes what is beyond."""


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


class Summary:
    """Counts rows, a table at a time; its size does not depend on how many there are.

    Attributes:
        images: All rows.
        failed: Rows without an answer.
        classes: Label, or `NO_LABEL`, to its images, in the order of the contract.
        failures: Error code to number of images.
        confidences: Images in each bin of `CONFIDENCE_EDGES`.
        novelties: Images in each bin of `NOVELTY_EDGES`; all 0 without a detector.
    """

    def __init__(self) -> None:
        self.images = 0
        self.failed = 0
        self.classes = {label: ClassCount() for label in (*LABELS, NO_LABEL)}
        self.failures: Counter[str] = Counter()
        self.confidences = np.zeros(len(CONFIDENCE_EDGES) - 1, np.int64)
        self.novelties = np.zeros(len(NOVELTY_EDGES) - 1, np.int64)

    def add(self, table: pa.Table) -> None:
        """Counts the rows of a table of `brainmri.bulk.row_tables.SCHEMA`."""
        self.images += len(table)
        columns = ("status", "label", "verdict", "confidence", "error_code")
        for status, label, verdict, confidence, code in zip(
            *(table[name].to_pylist() for name in columns), strict=True
        ):
            if status == FAILED:
                self.failed += 1
                self.failures[code] += 1
                continue
            count = self.classes[label or NO_LABEL]
            count.images += 1
            count.confidence_sum += confidence
            count.verdicts[verdict] += 1
        self.confidences += _histogram(table["confidence"], CONFIDENCE_EDGES)
        self.novelties += _histogram(table["novelty"], NOVELTY_EDGES)

    def to_json(self) -> dict[str, object]:
        """Returns the counts as plain values."""
        return {
            "images": self.images,
            "failed": self.failed,
            "classes": {
                label: {
                    "images": count.images,
                    "mean_confidence": round(count.mean_confidence, 4),
                    "verdicts": dict(sorted(count.verdicts.items())),
                }
                for label, count in self.classes.items()
            },
            "failures": dict(self.failures.most_common()),
        }


def _histogram(column: pa.ChunkedArray, edges: Sequence[float]) -> NDArray[np.int64]:
    values = column.drop_null().to_numpy()
    return np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].astype(np.int64)
