"""One row for each image: the columns of the results, the same in Parquet, CSV and JSONL."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np

from brainmri.bulk.items import Item
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


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one image.

    Attributes:
        id: Stable name of the image within its run; see `brainmri.bulk.items.Item`.
        path: Where it was, as the caller named it.
        frame: Which frame, page or slice of the file, from 0; None for the only one, or the one that is usually taken.
        instance: See `brainmri.imaging.FrameOf`; as `series`, None for what is not a DICOM object.
        series: Equal for all slices of a series.
        sha256: Of the file's bytes, hexadecimal; None if they could not be read as a whole.
        status: `ok` or `failed`; a failed row has an error and no answer.
        label: As in `Prediction`; None also when the model abstains.
        probabilities: Calibrated, in the order of `labels`.
        confidence: The largest probability.
        novelty: As in `Prediction`; None without a detector.
        verdict: As in `Prediction`.
        error_code: Such as `image_unreadable`; see `brainmri.errors`.
        error_message: What was wrong, and what to do.
        model: `name:version`.
        runtime: Such as `openvino-int8`.
        preprocessing_version: Of the decode and resize rule.
        labels: The classes that the model tells apart; each is a column.
        tags: Elements of a DICOM object that the caller asked for, by keyword; each is a column after these.
        scored_at: When, in UTC, to the millisecond; the only column that another run of the same images changes.
    """

    id: str
    path: str
    frame: int | None
    instance: str | None
    series: str | None
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
    labels: tuple[str, ...] = LABELS
    tags: Mapping[str, str] = field(default_factory=dict)


Kind = Literal["text", "integer", "number", "time"]
"""Of a column; a number is a float32."""

_KINDS: Mapping[str, Kind] = {"frame": "integer", "confidence": "number", "novelty": "number", "scored_at": "time"}


_FIELDS = tuple(one.name for one in fields(Row) if one.name not in ("labels", "tags"))


def columns_of(labels: Sequence[str]) -> dict[str, Kind]:
    """Returns column to what it holds, in their order; each probability has one. Those of tags come after them."""
    columns: dict[str, Kind] = {}
    for name in _FIELDS:
        if name == "probabilities":
            columns |= dict.fromkeys((PROBABILITY + label for label in labels), "number")
        else:
            columns[name] = _KINDS.get(name, "text")
    return columns


COLUMNS = columns_of(LABELS)
"""The columns of the released models."""

_NO_TAGS: Mapping[str, str] = MappingProxyType({})


def answered(item: Item, sha256: str, prediction: Prediction, tags: Mapping[str, str] = _NO_TAGS) -> Row:
    """Returns the row of an image that has an answer."""
    return Row(
        **_named(item),
        sha256=sha256,
        status=OK,
        label=prediction.label,
        probabilities=tuple(prediction.probabilities.values()),
        confidence=prediction.confidence,
        novelty=prediction.novelty,
        verdict=prediction.verdict,
        error_code=None,
        error_message=None,
        model=f"{prediction.model.name}:{prediction.model.version}",
        runtime=prediction.model.runtime,
        preprocessing_version=PREPROCESSING_VERSION,
        scored_at=_now(),
        labels=tuple(prediction.probabilities),
        tags=tags,
    )


def failed(
    item: Item, sha256: str | None, error: BrainMRIError, model: ModelIdentity, tags: Mapping[str, str] = _NO_TAGS
) -> Row:
    """Returns the row of an image that has none."""
    return Row(
        **_named(item),
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
        labels=model.classes.labels,
        tags=tags,
    )


def _named(item: Item) -> dict[str, Any]:
    return {name: getattr(item, name) for name in ("id", "path", "frame", "instance", "series")}


def values(row: Row) -> dict[str, object]:
    """Returns column to value, in the order of `columns_of`, and then the tags; the time is still a `datetime`."""
    found: dict[str, object] = {}
    for name in _FIELDS:
        value = getattr(row, name)
        if name == "probabilities":
            columns = (PROBABILITY + label for label in row.labels)
            found |= zip(columns, value or [None] * len(row.labels), strict=True)
        else:
            found[name] = value
    return {**found, **row.tags}


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
