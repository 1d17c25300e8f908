"""The answer to every held-out image as a table: figures can be traced to images, and measured again."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from brainmri.model.contract import LABELS
from training.data.arrays import Arrays
from training.data.tables import read_table, write_table
from training.release.evaluate import Answers

PREDICTIONS = "predictions.csv"
_DIGITS = 4


@dataclass(frozen=True)
class PredictionRow:
    """One held-out image.

    Attributes:
        name: Path below the dataset folder.
        split: `grouped` or `given`.
        leak: A `given` image with a near-duplicate in Training.
        group: Number of its near-duplicate group.
        label: True label.
        predicted: The most probable label.
        confidence: Its calibrated probability.
        novelty: Score of the novelty detector; -1 without one.
    """

    name: str
    split: str
    leak: bool
    group: int
    label: str
    predicted: str
    confidence: float
    novelty: float


def prediction_rows(splits: dict[str, Answers], arrays: Arrays) -> Iterable[PredictionRow]:
    """Yields one row for each image of the hold-out and of Testing."""
    for split in ("grouped", "given"):
        answers = splits[split]
        for i, number in enumerate(answers.rows):
            row = arrays.rows[number]
            yield PredictionRow(
                name=row.name,
                split=split,
                leak=row.leak,
                group=row.group,
                label=row.label,
                predicted=LABELS[int(answers.likely[i].argmax())],
                confidence=round(float(answers.likely[i].max()), _DIGITS),
                novelty=-1.0 if answers.novelty is None else round(float(answers.novelty[i]), _DIGITS),
            )


def write_predictions(path: Path, rows: Iterable[PredictionRow]) -> str:
    """Writes the table as CSV and returns its SHA-256."""
    return write_table(path, [field.name for field in fields(PredictionRow)], rows)


def read_predictions(path: Path) -> list[PredictionRow]:
    """Reads the table of a bundle.

    Raises:
        DatasetError: The file is missing or has other columns.
    """
    return read_table(path, PredictionRow, remedy="Register the model again.")
