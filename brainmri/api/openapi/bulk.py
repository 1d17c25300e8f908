"""The operations on many images at a time."""

from typing import Any

from brainmri.api.bulk_schemas import BulkErrorBody, ScoreSummary, ScoreSummaryLine
from brainmri.api.openapi.images import choice, form_of
from brainmri.api.openapi.parts import (
    EXAMPLE_ID,
    REQUEST_ID_ONLY,
    UPLOADING,
    Node,
    answer,
    errors,
    operation,
    reference,
)
from brainmri.api.schemas import ModelBody
from brainmri.api.score import NDJSON
from brainmri.api.upload import FIELD_OF_MANY
from brainmri.contract import NOTICE
from brainmri.scoring.rows import SCHEMA

_BINARY = {"schema": {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}}
_FILES = {"type": "array", "minItems": 1, "items": _BINARY["schema"]}
_REQUIRED_TEXT = ("id", "path", "status", "model", "runtime", "preprocessing_version", "scored_at")

_EXAMPLE_ROW = {
    "id": "0f4d3ba1c1c1f0b7a3d2",
    "path": "glioma/Te-gl_0010.jpg",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "status": "ok",
    "label": "glioma",
    "probability_glioma": 0.97,
    "probability_meningioma": 0.015,
    "probability_notumor": 0.01,
    "probability_pituitary": 0.005,
    "confidence": 0.97,
    "novelty": 0.98,
    "verdict": "glioma",
    "error_code": None,
    "error_message": None,
    "model": "brain_mri_xception:0.2.0",
    "runtime": "openvino-int8",
    "preprocessing_version": "pad-bilinear-299-v1",
    "scored_at": "2026-11-21T09:00:00.000+00:00",
}
_EXAMPLE_SUMMARY = ScoreSummaryLine(
    summary=ScoreSummary(
        images=3,
        rows=2,
        failed=1,
        labels={"glioma": 1},
        verdicts={"glioma": 1},
        errors={"image_unreadable": 1},
        left_out=0,
        complete=False,
        error=BulkErrorBody(code="not_ready", message="The service is shutting down."),
        model=ModelBody(name="brain_mri_xception", version="0.2.0", runtime="openvino-int8"),
        seconds=0.061,
        request_id=EXAMPLE_ID,
        notice=NOTICE,
    )
)


def _column(name: str) -> dict[str, Any]:
    if name in _REQUIRED_TEXT:
        return {"type": "string"}
    is_text = str(SCHEMA.field(name).type) == "string"
    return {"anyOf": [{"type": "string" if is_text else "number"}, {"type": "null"}]}


BULK_SCHEMAS: Node = {
    "ScoreRow": {
        "type": "object",
        "description": "One image: the columns of `brainmri score`. A row of status `failed` has an error and no"
        " answer.",
        "required": SCHEMA.names,
        "additionalProperties": False,
        "properties": {name: _column(name) for name in SCHEMA.names},
    },
    "ScoreLine": {
        "description": "A line of the answer: a row, or, as the last one, the summary.",
        "anyOf": [reference("ScoreRow"), reference("ScoreSummaryLine")],
    },
}
"""Of single lines of NDJSON."""


def upload_body() -> Node:
    """Returns what an upload of many images may be."""
    archives = ("application/zip", "application/x-tar", "application/gzip")
    return {**form_of(FIELD_OF_MANY, _FILES), **dict.fromkeys(archives, _BINARY)}


def bulk_paths() -> Node:
    """Returns the paths that take many images."""
    score = operation(
        "score",
        "bulk",
        "Classify an archive of slices, or a form of many; the answer is a line of JSON for each.",
        {
            "200": answer(
                "Newline-delimited JSON: a row for each image in the order of the upload, each sent once it and those"
                " before it are done; the summary last.",
                "ScoreLine",
                _EXAMPLE_ROW,
                media=NDJSON,
                more=_EXAMPLE_SUMMARY.model_dump(),
            ),
            **errors(UPLOADING),
        },
        description="The body is a zip file, a tar file (also with gzip), or a form with files in the field `images`,"
        " of which each needs a name of its own. It is received as a whole, on disk, before the answer begins. An image"
        " that cannot be answered is a row with an error. Files of an archive that are no images by their names are"
        " left out and counted. Links, absolute paths, `..`, archives in archives, encrypted archives, and those that"
        " would unpack to too much are refused as a whole. An answer without a summary was cut off.",
        parameters=[*choice("model"), *REQUEST_ID_ONLY],
        body=upload_body(),
    )
    return {"/score": {"post": score}}
