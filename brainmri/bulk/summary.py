"""What a run says as a whole: counts by class, verdict and failure, and how sure and how novel the images are."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from brainmri.bulk.totals import COUNTED, Totals
from brainmri.model.contract import RELEASED_CLASSES, Classes

CONFIDENCE_EDGES = tuple(np.linspace(0, 1, 21).round(2).tolist())
NOVELTY_EDGES = tuple(np.linspace(0, 5, 26).round(1).tolist())
"""In units of the median training slice; the last bin takes what is beyond."""


class Summary(Totals):
    """Totals of tables of rows, and how their numbers are distributed.

    Args:
        classes: What the model tells apart.

    Attributes:
        confidences: Images in each bin of `CONFIDENCE_EDGES`.
        novelties: Images in each bin of `NOVELTY_EDGES`; all 0 without a detector.
    """

    def __init__(self, classes: Classes = RELEASED_CLASSES) -> None:
        super().__init__(classes)
        self.confidences = np.zeros(len(CONFIDENCE_EDGES) - 1, np.int64)
        self.novelties = np.zeros(len(NOVELTY_EDGES) - 1, np.int64)

    def add_table(self, table: pa.Table) -> None:
        """Counts the rows of a table of `brainmri.bulk.row_tables.schema_of`."""
        for row in zip(*(table[name].to_pylist() for name in COUNTED), strict=True):
            self.add(*row)
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
