"""The operations of KServe's protocol V1."""

from typing import Any

from brainmri.http.openapi.images import EXAMPLE_PREDICTION, LABEL, frame_choice
from brainmri.http.openapi.parts import (
    EXPLAINING,
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

_TEXT = {"type": "string"}
NAME = parameter("name", "path", "Serving name or bundle name.", _TEXT, "brain_mri")
VERSION = parameter("version", "path", "Version.", _TEXT, "0.2.2")
_RUNNING = [*frame_choice(), *RUNNING]

_ENCODED = {
    "type": "object",
    "required": ["b64"],
    "additionalProperties": False,
    "properties": {"b64": {"type": "string", "contentEncoding": "base64", "description": "An image file."}},
}
_PIXELS = reference("Pixels")
_NAMED = {
    "type": "object",
    "required": ["image"],
    "additionalProperties": False,
    "properties": {"image": {"anyOf": [_ENCODED, _PIXELS]}},
}
V1_SCHEMAS: dict[str, Any] = {
    "V1Request": {
        "type": "object",
        "required": ["instances"],
        "additionalProperties": False,
        "properties": {
            "instances": {"type": "array", "minItems": 1, "items": {"anyOf": [_ENCODED, _PIXELS, _NAMED]}},
            "signature_name": {"type": "string", "description": "Ignored."},
        },
    }
}
"""What the protocol takes."""


def v1_paths() -> Node:
    """Returns the paths of the protocol."""
    listing = operation(
        "v1_models",
        "kserve-v1",
        "Names of the served models.",
        {"200": answer("The names.", "V1Models", {"models": ["brain_mri"]}), **errors((401, 500), "ProtocolError")},
        parameters=REQUEST_ID_ONLY,
    )
    paths: Node = {"/v1/models": {"get": listing}}
    for prefix, chosen, suffix in (
        ("/v1/models/{name}", [NAME], ""),
        ("/v1/models/{name}/versions/{version}", [NAME, VERSION], "_version"),
    ):
        paths[prefix] = {"get": _state(f"v1_model{suffix}", chosen)}
        paths[f"{prefix}:predict"] = {"post": _predict(f"v1_predict{suffix}", chosen)}
        paths[f"{prefix}:explain"] = {"post": _explain(f"v1_explain{suffix}", chosen)}
    return paths


def _state(name: str, chosen: list[Node]) -> Node:
    return operation(
        name,
        "kserve-v1",
        "State of a model.",
        {"200": answer("Ready.", "V1Model"), **errors(READING, "ProtocolError")},
        parameters=[*chosen, *REQUEST_ID_ONLY],
    )


def _predict(name: str, chosen: list[Node]) -> Node:
    example = {"predictions": [EXAMPLE_PREDICTION.model_dump()]}
    done = answer("One prediction for each instance, in order.", "V1Prediction", example)
    responses = {"200": done, **errors(PREDICTING, "ProtocolError")}
    return _of_instances(name, "Classify instances.", responses, [*chosen, *_RUNNING])


def _explain(name: str, chosen: list[Node]) -> Node:
    done = answer("One prediction and one heat map for each instance, in order.", "V1Explanation")
    responses = {"200": done, **errors(EXPLAINING, "ProtocolError")}
    return _of_instances(name, "Classify instances and explain.", responses, [*chosen, LABEL, *_RUNNING])


def _of_instances(name: str, summary: str, responses: Node, parameters: list[Node]) -> Node:
    instances = {"instances": [{"b64": "/9j/4AAQSkZJRgABAQAAAQABAAD/..."}]}
    return operation(
        name,
        "kserve-v1",
        summary,
        responses,
        description="One bad instance fails the request; the error names it, counted from 0. The content type of the"
        " request does not matter.",
        parameters=parameters,
        body={"application/json": {"schema": reference("V1Request"), "example": instances}},
    )
