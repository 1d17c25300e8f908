"""The whole document: paths, schemas, and what they share."""

from typing import Any

from pydantic.json_schema import models_json_schema

from brainmri import __version__
from brainmri.http.bulk_schemas import JobBody, JobsBody, PathRequest, ScoreSummaryLine
from brainmri.http.openapi.bulk import BULK_SCHEMAS, bulk_paths
from brainmri.http.openapi.images import BENTOML_SCHEMAS, image_paths, model_paths, tensor_paths
from brainmri.http.openapi.kserve_v1 import V1_SCHEMAS, v1_paths
from brainmri.http.openapi.open_inference import V2_SCHEMAS, v2_paths
from brainmri.http.openapi.parts import PARAMETERS, Node, error_responses, operation
from brainmri.model.contract import NOTICE
from brainmri.web.schemas import (
    BatchBody,
    ErrorBody,
    ExplainedPredictionBody,
    ModelDescription,
    ModelsBody,
    PredictionBody,
    ProtocolError,
    V1Explanation,
    V1Model,
    V1Models,
    V1Prediction,
)

_BODIES = (
    PredictionBody,
    ExplainedPredictionBody,
    V1Explanation,
    BatchBody,
    ErrorBody,
    ModelDescription,
    ModelsBody,
    V1Prediction,
    V1Model,
    V1Models,
    ProtocolError,
    ScoreSummaryLine,
    JobBody,
    JobsBody,
    PathRequest,
)
_TAGS = {
    "prediction": "Image files in, labels with calibrated probabilities out.",
    "bulk": "Many images at a time, behind all others.",
    "models": "What is served, and what it promises.",
    "open-inference": "The Open Inference Protocol (V2) over REST.",
    "kserve-v1": "KServe's protocol V1, which is TensorFlow Serving's REST API.",
    "operation": "For those who run the service.",
}


def openapi_document() -> dict[str, Any]:
    """Returns the document, OpenAPI 3.1."""
    _, definitions = models_json_schema(
        [(body, "serialization") for body in _BODIES], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "brainmri",
            "version": __version__,
            "description": f"Classifies brain-MRI slices. {NOTICE} No URL in any field is ever fetched: send bytes.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "."}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        # None, or one of the two: keys are asked for only where the service has a file of them.
        "security": [{}, {"bearer": []}, {"apiKey": []}],
        "paths": {
            **image_paths(),
            **tensor_paths(),
            **bulk_paths(),
            **model_paths(),
            **v2_paths(),
            **v1_paths(),
            **_operation_paths(),
        },
        "components": {
            "schemas": {**definitions["$defs"], **BENTOML_SCHEMAS, **BULK_SCHEMAS, **V1_SCHEMAS, **V2_SCHEMAS},
            "parameters": PARAMETERS,
            "responses": error_responses(),
            "headers": {
                "RequestId": {
                    "description": "Given by the caller, or made; also in the server's log.",
                    "required": True,
                    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
                }
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _operation_paths() -> Node:
    alive = {"200": "Alive.", "503": "A thread that work depends on has died, or the model cannot be loaded."}
    return {
        "/livez": {"get": _plain("live", "Whether a restart would not help.", alive)},
        "/healthz": {"get": _plain("healthy", "The same as `/livez`.", alive)},
        "/readyz": {
            "get": _plain("ready", "Whether a model is loaded and warm.", {"200": "Ready.", "503": "Not ready."})
        },
        "/metrics": {"get": _plain("metrics", "Metrics in the text format of Prometheus.", {"200": "Metrics."})},
    }


def _plain(name: str, summary: str, answers: dict[str, str]) -> Node:
    content = {"text/plain": {"schema": {"type": "string"}}}
    responses = {status: {"description": text, "content": content} for status, text in answers.items()}
    return operation(name, "operation", summary, responses, is_open=True)
