"""The OpenAPI document of the HTTP interface, built from the schemas that the code itself uses."""

from typing import Any

from pydantic.json_schema import models_json_schema

from brainmri import __version__
from brainmri.api.schemas import ErrorBody, PredictionBody
from brainmri.contract import NOTICE, Contract

_ERRORS = {
    "400": "The request or the image is refused.",
    "413": "The image has too many bytes or pixels.",
    "500": "Unexpected; report the request id.",
    "503": "No model is loaded yet, or the server is draining.",
    "504": "Not answered in time; send a smaller image or try again later.",
}


def openapi_document() -> dict[str, Any]:
    """Returns the document, OpenAPI 3.1."""
    _, definitions = models_json_schema(
        [(PredictionBody, "serialization"), (ErrorBody, "serialization"), (Contract, "serialization")],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "brainmri",
            "version": __version__,
            "description": f"Classifies one brain-MRI slice. {NOTICE}",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "."}],
        "tags": [{"name": "prediction"}, {"name": "operation"}],
        "paths": {
            "/predict": {"post": _predict()},
            "/model": {"get": _model()},
            "/livez": {"get": _plain("live", "Whether the process works.", {"200": "Alive.", "503": "Not alive."})},
            "/readyz": {
                "get": _plain("ready", "Whether the model is loaded and warm.", {"200": "Ready.", "503": "Not ready."})
            },
            "/metrics": {"get": _plain("metrics", "Metrics in the text format of Prometheus.", {"200": "Metrics."})},
        },
        "components": {"schemas": definitions["$defs"]},
    }


def _json(description: str, schema: str) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {
        "description": description,
        "headers": {"X-Request-Id": {"schema": {"type": "string"}, "description": "Given by the caller, or made."}},
        "content": {"application/json": {"schema": reference}},
    }


def _predict() -> dict[str, Any]:
    file = {"type": "string", "contentMediaType": "application/octet-stream", "format": "binary"}
    form = {
        "type": "object",
        "required": ["image"],
        "additionalProperties": False,
        "properties": {"image": {**file, "description": "One JPEG, PNG, BMP, TIFF, WebP or GIF file."}},
    }
    return {
        "operationId": "predict",
        "tags": ["prediction"],
        "summary": "Classify one slice.",
        "parameters": [
            {
                "name": "X-Request-Id",
                "in": "header",
                "required": False,
                "description": "Comes back in the answer; made up if absent or not of this form.",
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": form}, "image/*": {"schema": file}},
        },
        "responses": {
            "200": _json("The prediction.", "PredictionBody"),
            **{status: _json(text, "ErrorBody") for status, text in _ERRORS.items()},
        },
    }


def _model() -> dict[str, Any]:
    return {
        "operationId": "model",
        "tags": ["prediction"],
        "summary": "What the loaded model promises.",
        "responses": {
            "200": _json("The contract.", "Contract"),
            "503": _json(_ERRORS["503"], "ErrorBody"),
        },
    }


def _plain(operation: str, summary: str, answers: dict[str, str]) -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "operationId": operation,
        "tags": ["operation"],
        "summary": summary,
        "responses": {status: {"description": text, "content": content} for status, text in answers.items()},
    }
