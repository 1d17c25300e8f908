"""What the operations of the document share: parameters, answers, errors with their headers."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from brainmri.errors import (
    ArchiveRefused,
    ArchiveTooLarge,
    BrainMRIError,
    DeadlineExceeded,
    DicomUnavailable,
    EmptyImage,
    ExtremeAspect,
    HeatMapUnavailable,
    ImageTooLarge,
    ImageUnreadable,
    InferenceFailed,
    JobNotFound,
    JobsDisabled,
    JobUnfinished,
    MalformedRequest,
    ModelNotFound,
    NoStudy,
    NotBrainMR,
    NotReady,
    Overloaded,
    RequestTooLarge,
    StorageFull,
    StorageUnavailable,
    TooManyJobs,
    Unauthenticated,
    UnsupportedEncoding,
    UploadStalled,
    status_of,
)
from brainmri.http.bulk_schemas import NDJSON
from brainmri.web.call import PRIORITY_HEADER, TIMEOUT_HEADER
from brainmri.web.failures import failure_headers
from brainmri.web.middleware import REQUEST_ID
from brainmri.web.schemas import error_body

Node = dict[str, Any]
"""A piece of the document."""

EXAMPLE_ID = "b1946ac92492d2347c6235b4d2611184"

ERROR_EXAMPLES: tuple[BrainMRIError, ...] = (
    MalformedRequest("The form has a file part 'picture'. Send only files, in the field 'image'."),
    EmptyImage("The image is empty (0 bytes). Send the file's content."),
    ImageUnreadable("The file is not an image that can be decoded. Send a JPEG, PNG, BMP, TIFF, WebP or GIF file."),
    ExtremeAspect("The image is 4000 x 20 pixels. Send a slice.", limit="aspect 1:8"),
    NotBrainMR("The DICOM object says that it is CT of ABDOMEN. Send MR of the head.", limit="MR of the head"),
    NoStudy("The image is no DICOM object, so there is no study to write a report into. Ask for JSON or a PNG."),
    Unauthenticated("The API key is not known. Ask whoever runs this service for one."),
    ModelNotFound("No model 'other' is served. Choose one of brain_mri_xception:0.2.2."),
    UploadStalled("No piece of the upload came within 10 s. Send it without pauses.", limit="10 s"),
    ImageTooLarge("The image has 20000000 bytes or more; an image may have at most 16777216.", limit="16777216 bytes"),
    RequestTooLarge("The request has more than 64 images. Send them in several requests.", limit="64 images"),
    UnsupportedEncoding("The body has the content encoding 'gzip'. Send it uncompressed.", limit="identity"),
    Overloaded("The queue is full: 256 images. Try again in 2.4 s.", retry_after_s=2.4, limit="256 images"),
    ArchiveRefused("The archive holds the absolute path '/etc/passwd'. Pack it with relative paths."),
    ArchiveTooLarge("The archive has more than 100000 entries. Send it in several archives.", limit="100000 entries"),
    TooManyJobs("10 jobs of this API key are kept. Delete one, then try again.", retry_after_s=60, limit="10 jobs"),
    StorageFull("The server has no room for 3000000000 bytes more. Send less, or try again later."),
    StorageUnavailable("The server's disk cannot be written: read-only file system. Try again later."),
    JobNotFound("No job of yours has this id. It may have expired."),
    JobUnfinished("The job is running. Ask for its results when its state is 'done'."),
    HeatMapUnavailable(
        "The model brain_mri_xception:0.2.2 carries no heat map. Ask a model that has an `explanation`."
    ),
    DicomUnavailable("DICOM results need the extra `dicom`, which is not installed: uv sync --extra dicom."),
    JobsDisabled("This server keeps no jobs. Use /score, or ask whoever runs it to set BRAINMRI_JOBS_DIR."),
    InferenceFailed("The network's answer for this request is not a number."),
    NotReady("The model is not loaded. Try again in a few seconds, or ask /readyz first."),
    DeadlineExceeded("The request was not answered within 30 s.", limit="30 s"),
)
"""One of each error that a client can meet; their statuses, codes and headers are those of the code."""

_DESCRIPTIONS = {
    400: "The request or the image is refused as it was sent.",
    401: "An API key is required, and none that is known was sent.",
    404: "No model of this name and version is served, or there is no such job.",
    408: "The upload paused for too long; the connection is closed.",
    409: "The job has no complete results.",
    413: "Too many bytes, pixels or images.",
    415: "The body is compressed in a way that is not taken.",
    422: "The DICOM object is no MRI of a head, or DICOM results are asked for an image that belongs to no study.",
    429: "More work is waiting than can be done in time; nothing was run.",
    500: "The network or the server failed; report the request id.",
    501: "This server keeps no jobs or writes no DICOM, or this model has no heat maps.",
    503: "No model is loaded yet, or the server is draining.",
    504: "Not answered in time.",
    507: "The server's disk has no room for it.",
}
_HEADERS: dict[str, tuple[str, Node]] = {
    "Retry-After": ("When to try again, in seconds.", {"type": "integer", "minimum": 1}),
    "Accept-Encoding": ("What is taken.", {"type": "string"}),
    "Connection": ("No other request can follow.", {"type": "string", "const": "close"}),
    "WWW-Authenticate": ("How to send a key.", {"type": "string"}),
}

READING = (401, 404, 500, 503)
"""Errors of a request that asks about a model."""

PREDICTING = (400, 401, 404, 408, 413, 415, 422, 429, 500, 503, 504)
"""Errors of a request that uploads images."""


EXPLAINING = (*PREDICTING, 501)
"""Errors of a request for heat maps."""

UPLOADING = (*PREDICTING, 507)
"""Errors of a request that uploads to the server's disk."""


def reference(schema: str) -> Node:
    """Returns a reference to one of the schemas."""
    return {"$ref": f"#/components/schemas/{schema}"}


def answer(description: str, schema: str | Node, example: object = None, *, media: str = "application/json") -> Node:
    """Returns an answer in JSON, or of another media type."""
    content: Node = {"schema": reference(schema) if isinstance(schema, str) else schema}
    if example is not None:
        content["example"] = example
    return _answer(description, {media: content})


def answer_in_lines(description: str, schema: str, *examples: object) -> Node:
    """Returns an answer in newline-delimited JSON, of which each line fits the schema; an example is one line.

    OpenAPI 3.1 has no word for the schema of a line, so the body is text and `x-line-schema` names it.
    """
    text = "".join(f"{json.dumps(example)}\n" for example in examples)
    content = {"schema": {"type": "string"}, "x-line-schema": reference(schema), "example": text}
    return _answer(description, {NDJSON: content})


def _answer(description: str, content: Node) -> Node:
    return {"description": description, "headers": {REQUEST_ID: _id()}, "content": content}


def errors(statuses: Iterable[int], schema: str = "ErrorBody") -> Node:
    """Returns the answers of the given statuses: `ErrorBody`, or `ProtocolError` where a protocol has its own shape."""
    return {str(status): {"$ref": f"#/components/responses/{schema}{status}"} for status in statuses}


def error_responses() -> Node:
    """Returns what `errors` refers to."""
    schemas = "ErrorBody", "ProtocolError"
    return {f"{schema}{status}": _error(status, schema) for schema in schemas for status in _DESCRIPTIONS}


def _error(status: int, schema: str) -> Node:
    examples: Node = {}
    headers: Node = {REQUEST_ID: _id()}
    for error in ERROR_EXAMPLES:
        if status_of(error).http == status:
            body = error_body(error, EXAMPLE_ID).model_dump()
            examples[error.code] = {"value": body if schema == "ErrorBody" else {"error": error.message}}
            headers |= {name: _header(name) for name in failure_headers(error)}
    if status == 401:
        headers["WWW-Authenticate"] = _header("WWW-Authenticate")
    content = {"application/json": {"schema": reference(schema), "examples": examples}}
    return {"description": _DESCRIPTIONS[status], "headers": headers, "content": content}


def _header(name: str) -> Node:
    description, schema = _HEADERS[name]
    return {"description": description, "required": True, "schema": schema}


def _id() -> Node:
    return {"$ref": "#/components/headers/RequestId"}


def parameter(name: str, where: str, description: str, schema: Mapping[str, object], example: object = None) -> Node:
    """Returns a parameter; only those in the path are required."""
    node = {"name": name, "in": where, "required": where == "path", "description": description, "schema": dict(schema)}
    return node if example is None else {**node, "example": example}


PARAMETERS: dict[str, Node] = {
    "RequestId": parameter(
        REQUEST_ID,
        "header",
        "Comes back in the answer if it has 1 to 64 letters, digits, dots, underscores or hyphens. The server makes"
        " an id where it is absent or has another form.",
        {"type": "string"},
    ),
    "Timeout": parameter(
        TIMEOUT_HEADER,
        "header",
        "Milliseconds until nobody waits for the answer any more, the upload included. More than the server's own"
        " limit (BRAINMRI_REQUEST_TIMEOUT_S) counts as that limit.",
        {"type": "integer", "minimum": 1},
    ),
    "Priority": parameter(
        PRIORITY_HEADER,
        "header",
        "`bulk` work waits behind `interactive` work.",
        {"type": "string", "enum": ["interactive", "bulk"], "default": "interactive"},
    ),
}
"""Parameters that several operations share."""

RUNNING = tuple({"$ref": f"#/components/parameters/{name}"} for name in PARAMETERS)
"""Parameters of every operation that runs the network."""

REQUEST_ID_ONLY = RUNNING[:1]
"""Parameters of every other operation."""


def operation(  # noqa: PLR0913 -- the fields of the format
    name: str,
    tag: str,
    summary: str,
    responses: Node,
    *,
    description: str = "",
    parameters: Iterable[Node] = (),
    body: Node | None = None,
    is_open: bool = False,
) -> Node:
    """Returns an operation; one that `is_open` needs no API key."""
    node: Node = {"operationId": name, "tags": [tag], "summary": summary}
    if description:
        node["description"] = description
    if chosen := list(parameters):
        node["parameters"] = chosen
    if body is not None:
        node["requestBody"] = {"required": True, "content": body}
    if is_open:
        node["security"] = []
    return {**node, "responses": responses}
