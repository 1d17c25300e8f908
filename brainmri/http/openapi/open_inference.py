"""The operations of the Open Inference Protocol over REST."""

from typing import Any

from brainmri.http.openapi.kserve_v1 import VERSION
from brainmri.http.openapi.parts import (
    EXAMPLE_ID,
    PREDICTING,
    READING,
    REQUEST_ID_ONLY,
    RUNNING,
    Node,
    answer,
    errors,
    operation,
    parameter,
    reference,
)

_TAG = "open-inference"
_TEXT = {"type": "string"}
_NAME = parameter("name", "path", "Serving name for tensors, with `_image` for image files.", _TEXT, "brain_mri_image")
_COUNT = {"type": "integer", "minimum": 0}


def _object(properties: Node, *required: str, closed: bool = True) -> Node:
    node = {"type": "object", "required": list(required or properties), "properties": properties}
    return {**node, "additionalProperties": False} if closed else node


_PARAMETERS = {"type": "object", "description": "See the extensions of the protocol."}
_REQUEST_DATA = {
    "type": "array",
    "items": {},
    "description": "Elements in row-major order, flat or nested as the shape says: numbers, or base64 for BYTES.",
}
_SHAPE = {"type": "array", "items": {"type": "integer"}}
_SPEC = _object({"name": _TEXT, "datatype": _TEXT, "shape": _SHAPE})
_DURATION = _object({"count": _COUNT, "ns": _COUNT})
_STATISTICS = _object(
    {
        "name": _TEXT,
        "version": _TEXT,
        "last_inference": {**_COUNT, "description": "Milliseconds since 1970."},
        "inference_count": {**_COUNT, "description": "Images."},
        "execution_count": _COUNT,
        "inference_stats": _object(
            dict.fromkeys(("success", "fail", "queue", "compute_input", "compute_infer", "compute_output"), _DURATION)
        ),
        "batch_stats": {"type": "array", "items": {"type": "object"}},
    }
)

V2_SCHEMAS: dict[str, Any] = {
    "V2Live": _object({"live": {"type": "boolean"}}),
    "V2Ready": _object({"ready": {"type": "boolean"}}),
    "V2ModelReady": _object({"name": _TEXT, "ready": {"type": "boolean"}}),
    "V2Server": _object({"name": _TEXT, "version": _TEXT, "extensions": {"type": "array", "items": _TEXT}}),
    "V2Model": _object(
        {
            "name": _TEXT,
            "versions": {"type": "array", "items": _TEXT},
            "platform": _TEXT,
            "inputs": {"type": "array", "items": _SPEC},
            "outputs": {"type": "array", "items": _SPEC},
        }
    ),
    "V2Config": {"type": "object", "required": ["name", "max_batch_size", "input", "output"]},
    "V2Statistics": _object({"model_stats": {"type": "array", "items": _STATISTICS}}),
    "V2Index": {
        "type": "array",
        "items": _object({"name": _TEXT, "version": _TEXT, "state": _TEXT, "reason": _TEXT}),
    },
    "V2Input": _object(
        {"name": _TEXT, "datatype": _TEXT, "shape": _SHAPE, "parameters": _PARAMETERS, "data": _REQUEST_DATA},
        "name",
        "datatype",
        "shape",
        closed=False,
    ),
    "V2Request": _object(
        {
            "id": _TEXT,
            "parameters": _PARAMETERS,
            "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": reference("V2Input")},
            "outputs": {
                "type": "array",
                "items": _object({"name": _TEXT, "parameters": _PARAMETERS}, "name", closed=False),
            },
        },
        "inputs",
        closed=False,
    ),
    "V2Output": _object(
        {
            "name": _TEXT,
            "datatype": {"type": "string", "enum": ["FP32", "BYTES"]},
            "shape": _SHAPE,
            "parameters": _PARAMETERS,
            "data": {"type": "array", "items": {"anyOf": [{"type": "number"}, _TEXT, {"type": "null"}]}},
        },
        "name",
        "datatype",
        "shape",
    ),
    "V2Response": _object(
        {
            "model_name": _TEXT,
            "model_version": _TEXT,
            "id": _TEXT,
            "parameters": _PARAMETERS,
            "outputs": {"type": "array", "items": reference("V2Output")},
        },
        "model_name",
        "model_version",
        "outputs",
    ),
}
"""What the protocol takes and answers."""

_HEADER_LENGTH = parameter(
    "Inference-Header-Content-Length",
    "header",
    "Binary extension: bytes of JSON in front of the tensors; 0 when the body is one raw image.",
    _COUNT,
)
_EXAMPLE_REQUEST = {
    "id": "1",
    "inputs": [
        {
            "name": "image",
            "datatype": "BYTES",
            "shape": [1, 1],
            "data": ["/9j/4AAQSkZJRgABAQAAAQABAAD/..."],
        }
    ],
}
_EXAMPLE_RESPONSE = {
    "model_name": "brain_mri",
    "model_version": "0.2.2",
    "id": "1",
    "parameters": {"notice": "Research use only."},
    "outputs": [
        {"name": "probabilities", "datatype": "FP32", "shape": [1, 4], "data": [0.97, 0.015, 0.01, 0.005]},
    ],
}


def v2_paths() -> Node:
    """Returns the paths of the protocol."""
    listing = errors((401, 500), "ProtocolError")
    index, all_statistics = answer("The models.", "V2Index"), answer("Counts and times.", "V2Statistics")
    paths: Node = {
        "/v2": {"get": _reading("v2_server", "Name and extensions.", {"200": answer("About.", "V2Server"), **listing})},
        "/v2/health/live": {"get": _health("v2_live", "Whether the process works.", "V2Live")},
        "/v2/health/ready": {"get": _health("v2_ready", "Whether a model is loaded and warm.", "V2Ready")},
        "/v2/repository/index": {
            "post": _reading("v2_index", "Every model and version.", {"200": index, **listing}),
        },
        "/v2/models/stats": {
            "get": _reading("v2_all_statistics", "Statistics of every model.", {"200": all_statistics, **listing})
        },
    }
    for prefix, chosen, suffix in (
        ("/v2/models/{name}", [_NAME], ""),
        ("/v2/models/{name}/versions/{version}", [_NAME, VERSION], "_version"),
    ):
        paths |= _model_paths(prefix, chosen, suffix)
    return paths


def _model_paths(prefix: str, chosen: list[Node], suffix: str) -> Node:
    failing = errors(READING, "ProtocolError")

    def reading(name: str, summary: str, schema: str) -> Node:
        return {"get": _reading(f"{name}{suffix}", summary, {"200": answer("As asked.", schema), **failing}, chosen)}

    ready = _health(f"v2_model_ready{suffix}", "Whether a model can be asked.", "V2ModelReady", chosen)
    ready["responses"] |= errors((404, 500), "ProtocolError")
    # Not loaded is told as an error, draining as `false`.
    ready["responses"]["503"]["content"]["application/json"]["schema"] = {
        "anyOf": [reference("V2ModelReady"), reference("ProtocolError")]
    }
    return {
        prefix: reading("v2_model", "Inputs and outputs of a model.", "V2Model"),
        f"{prefix}/ready": {"get": ready},
        f"{prefix}/config": reading("v2_config", "Configuration of a model.", "V2Config"),
        f"{prefix}/stats": reading("v2_statistics", "Statistics of a model.", "V2Statistics"),
        f"{prefix}/infer": {"post": _infer(f"v2_infer{suffix}", chosen)},
    }


def _reading(name: str, summary: str, responses: Node, chosen: list[Node] | None = None) -> Node:
    return operation(name, _TAG, summary, responses, parameters=[*(chosen or []), *REQUEST_ID_ONLY])


def _health(name: str, summary: str, schema: str, chosen: list[Node] | None = None) -> Node:
    responses = {"200": answer("Yes.", schema), "503": answer("No.", schema)}
    return operation(name, _TAG, summary, responses, parameters=[*(chosen or []), *REQUEST_ID_ONLY], is_open=True)


def _infer(name: str, chosen: list[Node]) -> Node:
    binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    done = answer("The outputs.", "V2Response", {**_EXAMPLE_RESPONSE, "id": EXAMPLE_ID})
    done["content"] |= binary
    return operation(
        name,
        _TAG,
        "Run the network.",
        {"200": done, **errors(PREDICTING, "ProtocolError")},
        description="The body may be compressed with gzip or deflate. With the binary extension tensors follow the JSON"
        " in both directions.",
        parameters=[*chosen, _HEADER_LENGTH, *RUNNING],
        body={"application/json": {"schema": reference("V2Request"), "example": _EXAMPLE_REQUEST}, **binary},
    )
