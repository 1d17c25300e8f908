"""One row for each image: the columns of the results, the same in Parquet, CSV and JSONL."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Final, Literal

import numpy as np

from brainmri.errors import BrainMRIError
from brainmri.imaging import PREPROCESSING_VERSION
from brainmri.model.contract import LABELS
from brainmri.model.predictor import ModelIdentity, Prediction

OK: Final = "ok"
FAILED: Final = "failed"
NO_LABEL = "none"
"""Stands for the class of an image for which the model abstains."""
PROBABILITY = "probability_"
"""Each class has a column of this beginning, such as `probability_glioma`."""

_PROBABILITIES = [PROBABILITY + label for label in LABELS]


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one image.

    Attributes:
        id: Stable name of the image within its run; see `brainmri.bulk.items.Item`.
        path: Where it was, as the caller named it.
        sha256: Of its bytes, hexadecimal; None if they could not be read as a whole.
        status: `ok` or `failed`; a failed row has an error and no answer.
        label: As in `Prediction`; None also when the model abstains.
        probabilities: Calibrated, in the order of `LABELS`.
        confidence: The largest probability.
        novelty: As in `Prediction`; None without a detector.
        verdict: As in `Prediction`.
        error_code: Such as `image_unreadable`; see `brainmri.errors`.
        error_message: What was wrong, and what to do.
        model: `name:version`.
        runtime: Such as `openvino-int8`.
        preprocessing_version: Of the decode and resize rule.
        scored_at: When, in UTC, to the millisecond; the only column that another run of the same images changes.
    """

    id: str
    path: str
    sha256: str | None
    status: Literal["ok", "failed"]
    label: str | None
    probabilities: tuple[float, ...] | None
    confidence: float | None
    novelty: float | None
    verdict: str | None
    error_code: str | None
    error_message: str | None
    model: str
    runtime: str
    preprocessing_version: str
    scored_at: datetime


def _columns(name: str) -> dict[str, Literal["text", "number", "time"]]:
    if name == "probabilities":
        return dict.fromkeys(_PROBABILITIES, "number")
    return {name: "number" if name in ("confidence", "novelty") else "time" if name == "scored_at" else "text"}


COLUMNS = {column: kind for field in fields(Row) for column, kind in _columns(field.name).items()}
"""Column to what it holds, in their order; the probabilities have one each. Numbers are float32."""


def answered(identity: str, path: str, sha256: str, prediction: Prediction) -> Row:
    """Returns the row of an image that has an answer."""
    return Row(
        id=identity,
        path=path,
        sha256=sha256,
        status=OK,
        label=prediction.label,
        probabilities=tuple(prediction.probabilities[label] for label in LABELS),
        confidence=prediction.confidence,
        novelty=prediction.novelty,
        verdict=prediction.verdict,
        error_code=None,
        error_message=None,
        model=f"{prediction.model.name}:{prediction.model.version}",
        runtime=prediction.model.runtime,
        preprocessing_version=PREPROCESSING_VERSION,
        scored_at=_now(),
    )


def failed(identity: str, path: str, sha256: str | None, error: BrainMRIError, model: ModelIdentity) -> Row:
    """Returns the row of an image that has none."""
    return Row(
        id=identity,
        path=path,
        sha256=sha256,
        status=FAILED,
        label=None,
        probabilities=None,
        confidence=None,
        novelty=None,
        verdict=None,
        error_code=error.code,
        error_message=error.message,
        model=f"{model.name}:{model.version}",
        runtime=model.runtime,
        preprocessing_version=PREPROCESSING_VERSION,
        scored_at=_now(),
    )


def values(row: Row) -> dict[str, object]:
    """Returns column to value, in the order of `COLUMNS`; the time is still a `datetime`."""
    found: dict[str, object] = {}
    for field in fields(row):
        value = getattr(row, field.name)
        if field.name == "probabilities":
            found |= zip(_PROBABILITIES, value or [None] * len(LABELS), strict=True)
        else:
            found[field.name] = value
    return found


def json_line(row: Mapping[str, object]) -> bytes:
    """Returns one row, by column, as a line of JSON; its time is a `datetime`."""
    return json.dumps(row, ensure_ascii=False, default=_iso).encode() + b"\n"


def row_line(row: Row) -> bytes:
    """Returns a row as `brainmri score` writes it: its numbers are of the precision of Parquet's columns."""
    return json_line(
        {name: float(np.float32(value)) if isinstance(value, float) else value for name, value in values(row).items()}
    )


def _iso(value: object) -> str:
    assert isinstance(value, datetime)  # noqa: S101 -- every other column is text or a number
    return value.isoformat(timespec="milliseconds")


def _now() -> datetime:
    return datetime.now(UTC)
