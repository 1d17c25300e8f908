"""The operations on many images at a time."""

from typing import Any

from brainmri.bulk.rows import COLUMNS
from brainmri.http.bulk_schemas import (
    PARQUET,
    BulkErrorBody,
    JobBody,
    JobSourceBody,
    ScoreSummary,
    ScoreSummaryLine,
)
from brainmri.http.openapi.images import FORCE, choice, form_of
from brainmri.http.openapi.parts import (
    EXAMPLE_ID,
    REQUEST_ID_ONLY,
    UPLOADING,
    Node,
    answer,
    answer_in_lines,
    errors,
    operation,
    parameter,
    reference,
)
from brainmri.model.contract import NOTICE
from brainmri.web.schemas import ModelBody
from brainmri.web.upload import FIELD_OF_MANY

_BINARY = {"schema": {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}}
_FILES = {"type": "array", "minItems": 1, "items": _BINARY["schema"]}
_REQUIRED_TEXT = ("id", "path", "status", "model", "runtime", "preprocessing_version", "scored_at")

_EXAMPLE_ROW = {
    "id": "0f4d3ba1c1c1f0b7a3d2",
    "path": "glioma/Te-gl_0010.jpg",
    "frame": None,
    "instance": None,
    "series": None,
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
    "model": "brain_mri_xception:0.2.2",
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
        left_out_reasons={},
        series=[],
        complete=False,
        error=BulkErrorBody(code="not_ready", message="The service is shutting down."),
        resume="2-9f86d081884c7d65",
        model=ModelBody(name="brain_mri_xception", version="0.2.2", runtime="openvino-int8"),
        seconds=0.061,
        request_id=EXAMPLE_ID,
        notice=NOTICE,
    )
)


EXAMPLE_JOB = JobBody(
    id=EXAMPLE_ID,
    state="running",
    source=JobSourceBody(kind="upload", path=None),
    model="brain_mri_xception:0.2.2",
    created="2026-11-21T09:00:00+00:00",
    started="2026-11-21T09:00:01+00:00",
    ended=None,
    expires=None,
    images=1000,
    done=640,
    failed=1,
    progress=0.64,
    error=None,
    notice=NOTICE,
)
"""What a job looks like."""

_ID = parameter("id", "path", "Of the job.", {"type": "string", "pattern": "^[0-9a-f]{32}$"}, EXAMPLE_ID)
_FORMAT = parameter(
    "format", "query", "Goes before `Accept`.", {"type": "string", "enum": ["ndjson", "parquet"]}, "parquet"
)
_RESUME = parameter(
    "resume",
    "query",
    "The `resume` of the summary of an answer that ended early: the same archive is answered from the next row on.",
    {"type": "string", "pattern": "^[0-9]{1,9}-[0-9a-f]{16}$"},
    "2-9f86d081884c7d65",
)
_FINDING = (401, 404, 500, 501)
"""Errors of a request that names a job."""


_TYPES = {"text": "string", "time": "string", "integer": "integer", "number": "number"}


def _column(name: str) -> dict[str, Any]:
    if name in _REQUIRED_TEXT:
        return {"type": "string"}
    return {"anyOf": [{"type": _TYPES[COLUMNS[name]]}, {"type": "null"}]}


BULK_SCHEMAS: Node = {
    "ScoreRow": {
        "type": "object",
        "description": "One image: the columns of `brainmri score`. A row of status `failed` has an error and no"
        " answer.",
        "required": list(COLUMNS),
        "additionalProperties": False,
        "properties": {name: _column(name) for name in COLUMNS},
    },
    "ScoreLine": {
        "description": "A line of the answer: a row, or, as the last one, the summary.",
        "anyOf": [reference("ScoreRow"), reference("ScoreSummaryLine")],
    },
}
"""Of single lines of NDJSON."""


def upload_body() -> Node:
    """Returns what an upload of many images may be."""
    return {**form_of(FIELD_OF_MANY, _FILES), "application/octet-stream": _BINARY}


def bulk_paths() -> Node:
    """Returns the paths that take many images."""
    score = operation(
        "score",
        "bulk",
        "Classify an archive of slices, or a form of many; the answer is a line of JSON for each.",
        {
            "200": answer_in_lines(
                "Newline-delimited JSON: a row for each image in the order of the upload, each sent once it and those"
                " before it are done; the summary last.",
                "ScoreLine",
                _EXAMPLE_ROW,
                _EXAMPLE_SUMMARY.model_dump(),
            ),
            **errors(UPLOADING),
        },
        description="The body is a zip file, a tar file (also with gzip), or a form with files in the field `images`,"
        " of which each needs a name of its own. Each frame of a DICOM object is an image of its own. An archive may"
        " have any other content type, such as `application/zip`. The body is received as a whole, on disk, before the"
        " answer begins. An image that cannot be answered is a row with an error. Files of an archive that are no"
        " images by their names, or by their first bytes where a name has no ending, are left out and counted by"
        " reason. Links, absolute paths, `..`, archives in archives, encrypted archives, and those that would unpack to"
        " too much are refused as a whole. An answer without a summary was cut off.",
        parameters=[*choice("model"), FORCE, _RESUME, *REQUEST_ID_ONLY],
        body=upload_body(),
    )
    return {"/score": {"post": score}, **_job_paths()}


def _job_paths() -> Node:
    job = answer("The job.", "JobBody", EXAMPLE_JOB.model_dump())
    made = {**answer("The job, which waits for its turn.", "JobBody", EXAMPLE_JOB.model_dump())}
    made["headers"] = {**made["headers"], "Location": {"required": True, "schema": {"type": "string"}}}
    create = operation(
        "create_job",
        "bulk",
        "Make a job of an upload, or of a path that the server can read.",
        {"202": made, **errors((*UPLOADING, 501))},
        description="Takes what `/score` takes, or the JSON of a path below the server's input folder. Jobs run one"
        " after the other, behind all other work, survive a restart of the server, and are deleted some time after they"
        " ended (`expires`). Where the server asks for API keys, a job belongs to the key that made it, and nobody else"
        " can tell that it exists.",
        parameters=[*choice("model"), *REQUEST_ID_ONLY],
        body={**upload_body(), "application/json": {"schema": reference("PathRequest"), "example": {"path": "scans"}}},
    )
    listing = operation(
        "list_jobs",
        "bulk",
        "Which jobs the caller has, the oldest first.",
        {"200": answer("The jobs.", "JobsBody"), **errors((401, 500, 501))},
        parameters=REQUEST_ID_ONLY,
    )
    show = operation(
        "show_job",
        "bulk",
        "How far a job is.",
        {"200": job, **errors(_FINDING)},
        parameters=[_ID, *REQUEST_ID_ONLY],
    )
    delete = operation(
        "delete_job",
        "bulk",
        "Cancel a job, and remove its upload and its results.",
        {"204": {"description": "It is gone.", "headers": job["headers"]}, **errors(_FINDING)},
        parameters=[_ID, *REQUEST_ID_ONLY],
    )
    rows = answer_in_lines("The rows, in the order of the input.", "ScoreRow", _EXAMPLE_ROW)
    rows["content"][PARQUET] = _BINARY
    results = operation(
        "job_results",
        "bulk",
        "The rows of a job that succeeded.",
        {"200": rows, **errors((400, *_FINDING, 409))},
        description="As newline-delimited JSON, or as Parquet, by the header `Accept` or the parameter `format`.",
        parameters=[_ID, _FORMAT, *REQUEST_ID_ONLY],
    )
    return {
        "/jobs": {"post": create, "get": listing},
        "/jobs/{id}": {"get": show, "delete": delete},
        "/jobs/{id}/results": {"get": results},
    }
