"""The answer to every held-out image as a table: figures can be traced to images, and measured again."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from training.data.slices import NOWHERE, Slices
from training.data.sources import TEST
from training.data.split import EXTERNAL
from training.data.tables import read_table, write_table
from training.release.answers import REFUSED, UNSURE, Answers

_DIGITS = 4
_VERDICTS = {UNSURE: "unsure", REFUSED: "not_a_brain_mri"}


@dataclass(frozen=True)
class PredictionRow:
    """One held-out image.

    Attributes:
        name: Path below the data folder.
        subset: `test` or `external`.
        person: Whose head it is; empty where unknown.
        group: Of near-duplicates; empty where there is none.
        label: True label, or `tumour`.
        predicted: The most probable label.
        verdict: What the service answers: a label, `unsure` or `not_a_brain_mri`.
        confidence: Calibrated probability of the most probable label.
        p_notumor: Calibrated probability of the label that means "no tumour"; -1 where none does.
        novelty: Score of the novelty detector; -1 without one.
    """

    name: str
    subset: str
    person: str
    group: str
    label: str
    predicted: str
    verdict: str
    confidence: float
    p_notumor: float
    novelty: float


def prediction_rows(subsets: dict[str, Answers], slices: Slices) -> Iterable[PredictionRow]:
    """Yields one row for each image of the test parts."""
    names, none = slices.classes.labels, slices.no_tumor
    for subset in (TEST, EXTERNAL):
        if subset not in subsets:
            continue
        answers = subsets[subset]
        for i, number in enumerate(answers.rows.tolist()):
            image = slices.images[number]
            yield PredictionRow(
                name=image.name,
                subset=subset,
                person=image.person,
                group="" if image.person else image.unit,
                label=image.label,
                predicted=names[int(answers.predicted[i])],
                verdict=_VERDICTS.get(int(answers.verdicts[i])) or names[int(answers.verdicts[i])],
                confidence=round(float(answers.likely[i].max()), _DIGITS),
                p_notumor=-1.0 if none == NOWHERE else round(float(answers.likely[i, none]), _DIGITS),
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
