"""The document against the code: every route, and what is really answered."""

import asyncio
import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import Route

from brainmri.batching.engine import Engine
from brainmri.bulk.rows import columns_of
from brainmri.errors import STATUS, BrainMRIError, InvalidInput, Overloaded
from brainmri.http.app import create_app
from brainmri.http.bulk_schemas import JobBody, JobsBody, PathRequest, ScoreSummaryLine
from brainmri.http.documentation import openapi_document
from brainmri.http.feedback import FeedbackRequest
from brainmri.http.report import FORMS, LABELS_FROM
from brainmri.imaging.formats import FORMATS
from brainmri.imaging.picture import MAX_FRAME
from brainmri.model.heat_picture import PALETTES
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.dataplane import DataPlane
from brainmri.settings import Settings
from brainmri.web import schemas
from brainmri.web.failures import failure_headers
from brainmri.web.middleware import UNMATCHED
from tests.application import MAX_REQUEST_IMAGES, Ask, api_settings
from tests.http.json_schema import faults, resolve

DOCUMENT = openapi_document((), Settings(models=("brain_mri_xception:0.0.1",)))
BODIES = (
    schemas.PredictionBody,
    schemas.ExplainedPredictionBody,
    schemas.V1Explanation,
    schemas.BatchBody,
    schemas.ErrorBody,
    schemas.ModelDescription,
    schemas.ModelsBody,
    schemas.V1Prediction,
    schemas.V1Model,
    schemas.V1Models,
    schemas.ProtocolError,
    ScoreSummaryLine,
    JobBody,
    JobsBody,
    PathRequest,
    FeedbackRequest,
)
BENTOML = {"/livez": "GET", "/healthz": "GET", "/readyz": "GET", "/probabilities": "POST"}
"""Answered by BentoML, not by the application."""
DOCUMENTATION = {"/", "/docs.json", "/static_content"}


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Yields every object in the document."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from nodes(child)


def test_every_route_is_documented_and_everything_documented_is_a_route() -> None:
    app = create_app(
        DataPlane(Engine(decode_workers=1), api_settings(), metrics := Metrics(CollectorRegistry())), metrics
    )
    routes = {
        (route.path, method)
        for route in app.routes
        if isinstance(route, Route) and route.name != UNMATCHED and route.path not in DOCUMENTATION
        for method in (route.methods or set()) - {"HEAD"}
    }
    documented = {(path, method.upper()) for path, operations in DOCUMENT["paths"].items() for method in operations}
    assert documented == routes | set(BENTOML.items())


def test_operations_have_names_of_their_own_and_declared_tags() -> None:
    operations = [operation for path in DOCUMENT["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert {tag for operation in operations for tag in operation["tags"]} == {tag["name"] for tag in DOCUMENT["tags"]}


def test_the_parameters_of_every_path_are_described() -> None:
    for path, operations in DOCUMENT["paths"].items():
        for operation in operations.values():
            parameters = [resolve(DOCUMENT, parameter) for parameter in operation.get("parameters", [])]
            in_path = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
            assert in_path == set(re.findall(r"{(\w+)}", path))


def test_every_reference_resolves() -> None:
    references = [node for node in nodes(DOCUMENT) if isinstance(node.get("$ref"), str)]
    assert len(references) > 100
    for reference in references:
        assert resolve(DOCUMENT, reference)


def test_every_example_fits_its_schema() -> None:
    count = 0
    for node in nodes(DOCUMENT):
        if "schema" not in node:
            continue
        examples = [example["value"] for example in node.get("examples", {}).values()]
        examples += [node["example"]] if "example" in node else []
        for example in examples:
            count += 1
            assert list(faults(DOCUMENT, node["schema"], example)) == []
    assert count > 30


def untitled(node: Any) -> Any:
    """Returns a schema without the titles that pydantic makes of names, and without examples."""
    if isinstance(node, dict):
        # A property may be called `title`: its value is a schema, not a text.
        kept = {key: child for key, child in node.items() if key != "examples"}
        return {key: untitled(child) for key, child in kept.items() if key != "title" or isinstance(child, dict)}
    return [untitled(child) for child in node] if isinstance(node, list) else node


def test_the_schemas_are_those_of_the_bodies_that_are_sent() -> None:
    kinds: list[tuple[type[BaseModel], Literal["serialization"]]] = [(body, "serialization") for body in BODIES]
    _, made = models_json_schema(kinds, ref_template="#/components/schemas/{model}")
    for name, schema in made["$defs"].items():
        assert untitled(DOCUMENT["components"]["schemas"][name]) == untitled(schema), name


def test_the_choices_are_those_that_the_code_takes() -> None:
    components = DOCUMENT["components"]
    parameters = {name: node["schema"] for name, node in components["parameters"].items()}
    assert parameters["Palette"]["enum"] == list(PALETTES)
    assert parameters["Frame"]["maximum"] == MAX_FRAME
    report = {one["name"]: one["schema"] for one in DOCUMENT["paths"]["/report"]["post"]["parameters"] if "name" in one}
    assert (report["format"]["enum"], report["labels_from"]["enum"]) == (list(FORMS), list(LABELS_FROM))
    row = components["schemas"]["ScoreRow"]
    assert row["required"] == list(columns_of(())) == list(row["properties"])
    file = components["requestBodies"]["OneImage"]["content"]["multipart/form-data"]["schema"]["properties"]["image"]
    assert file["description"] == f"One file: {', '.join(FORMATS)}."


def test_every_error_that_a_client_can_meet_has_an_example_and_its_headers_at_its_status() -> None:
    for kind in STATUS.keys() - {BrainMRIError, InvalidInput}:
        error = kind("Full.", retry_after_s=1.0) if issubclass(kind, Overloaded) else kind("What is wrong.")
        response = DOCUMENT["components"]["responses"][f"ErrorBody{STATUS[kind].http}"]
        assert error.code in response["content"]["application/json"]["examples"], kind
        assert failure_headers(error).keys() <= response["headers"].keys(), kind


def test_the_document_names_the_served_model_and_the_limits_of_the_settings(ask: Ask) -> None:
    document = ask("GET", "/docs.json", settings={"request_timeout_s": 7.5}).json()
    assert document["components"]["parameters"]["Version"]["example"] == "0.0.1"
    assert document["components"]["parameters"]["TensorModel"]["example"] == "brain_mri_image"
    assert "7.5 s" in document["components"]["parameters"]["Timeout"]["description"]
    images = document["components"]["requestBodies"]["SeveralImages"]["content"]["multipart/form-data"]["schema"]
    assert images["properties"]["images"]["maxItems"] == MAX_REQUEST_IMAGES
    assert "${" not in json.dumps(document)
    assert ask("GET", "/docs.json", served=()).json()["components"]["parameters"]["Version"]["example"] == "latest"


def test_predict_takes_a_form_with_one_file_or_a_raw_image_and_predict_batch_a_form_of_files() -> None:
    one, many = (
        resolve(DOCUMENT, DOCUMENT["paths"][path]["post"]["requestBody"])["content"]
        for path in ("/predict", "/predict_batch")
    )
    assert (sorted(one), sorted(many)) == (
        ["application/dicom", "application/octet-stream", "image/*", "multipart/form-data"],
        ["multipart/form-data"],
    )
    image = one["multipart/form-data"]["schema"]["properties"]["image"]
    images = many["multipart/form-data"]["schema"]["properties"]["images"]
    assert (image["format"], images["type"], images["items"]["format"]) == ("binary", "array", "binary")


def check(template: str, response: httpx.Response) -> None:
    """Asserts that an answer is one that the document describes."""
    operation = DOCUMENT["paths"][template][response.request.method.lower()]
    described = resolve(DOCUMENT, operation["responses"][str(response.status_code)])
    for name, header in described.get("headers", {}).items():
        value: Any = response.headers[name]
        schema = resolve(DOCUMENT, header)["schema"]
        assert list(faults(DOCUMENT, schema, int(value) if schema["type"] == "integer" else value)) == []
    media = response.headers["content-type"].partition(";")[0]
    schema = described["content"][media]["schema"]
    if media == "application/json":
        assert list(faults(DOCUMENT, schema, response.json())) == []


MODEL = "/v1/models/{name}", "/v1/models/brain_mri"
INFER = "/v2/models/{name}/infer"


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/model", "/model?name=brain_mri&version=0.0.1"),
        ("/models", "/models"),
        ("/metrics", "/metrics"),
        ("/v1/models", "/v1/models"),
        MODEL,
        ("/v1/models/{name}/versions/{version}", "/v1/models/brain_mri/versions/0.0.1"),
        ("/v2", "/v2"),
        ("/v2/health/live", "/v2/health/live"),
        ("/v2/health/ready", "/v2/health/ready"),
        ("/v2/models/stats", "/v2/models/stats"),
        ("/v2/models/{name}", "/v2/models/brain_mri"),
        ("/v2/models/{name}/ready", "/v2/models/brain_mri/ready"),
        ("/v2/models/{name}/config", "/v2/models/brain_mri/config"),
        ("/v2/models/{name}/stats", "/v2/models/brain_mri/stats"),
        ("/v2/models/{name}/versions/{version}", "/v2/models/brain_mri_image/versions/0.0.1"),
        ("/v2/models/{name}/versions/{version}/ready", "/v2/models/brain_mri/versions/0.0.1/ready"),
        ("/v2/models/{name}/versions/{version}/config", "/v2/models/brain_mri_image/versions/0.0.1/config"),
        ("/v2/models/{name}/versions/{version}/stats", "/v2/models/brain_mri/versions/0.0.1/stats"),
    ],
)
def test_what_can_be_read_is_as_described(ask: Ask, template: str, path: str) -> None:
    answered = ask("GET", path)
    assert answered.status_code == 200
    check(template, answered)
    if "{name}" in template:
        missing = ask("GET", path.replace("brain_mri", "other"))
        assert missing.status_code == 404
        check(template, missing)
    if "{name}" in template or template in ("/model", "/v2/health/ready"):
        loading = ask("GET", path, served=())
        assert loading.status_code == 503
        check(template, loading)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def uploads(data: bytes) -> list[tuple[str, str, dict[str, Any]]]:
    """Returns template, path and body of one request of each kind that runs the network."""
    files = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1, 1], "data": [b64(data)]}]}
    pixels = np.zeros(299 * 299 * 3, int).tolist()
    tensors = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 299, 299, 3], "data": pixels}]}
    instances = {"instances": [{"b64": b64(data)}]}
    version = "/versions/{version}"
    return [
        ("/predict", "/predict", {"files": {"image": data}}),
        ("/predict_batch", "/predict_batch", {"files": [("images", ("a", data)), ("images", ("b", b""))]}),
        ("/v1/models/{name}:predict", "/v1/models/brain_mri:predict", {"json": instances}),
        (f"/v1/models/{{name}}{version}:predict", "/v1/models/brain_mri/versions/0.0.1:predict", {"json": instances}),
        (INFER, "/v2/models/brain_mri_image/infer", {"json": {"id": "7", **files}}),
        (f"/v2/models/{{name}}{version}/infer", "/v2/models/brain_mri/versions/0.0.1/infer", {"json": tensors}),
    ]


def test_predictions_are_as_described(ask: Ask, png: Callable[..., bytes]) -> None:
    for template, path, body in uploads(png()):
        response = ask("POST", path, **body)
        assert response.status_code == 200
        check(template, response)
    check("/v2/repository/index", ask("POST", "/v2/repository/index"))


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        (400, {"headers": {"X-Request-Timeout-Ms": "soon"}}),
        (408, {"settings": {"upload_idle_timeout_s": 0.05}, "content": "stalling"}),
        (413, {"settings": {"max_image_bytes": 1, "max_request_bytes": 1}}),
        (415, {"headers": {"content-encoding": "br"}}),
        (503, {"served": ()}),
        (504, {"settings": {"request_timeout_s": 0.05}, "content": "stalling"}),
    ],
)
def test_refusals_are_as_described(ask: Ask, png: Callable[..., bytes], status: int, changes: dict[str, Any]) -> None:
    async def stalling() -> Any:
        yield b"--b"
        await asyncio.sleep(5)

    for template, path, body in uploads(png()):
        request = {**body, **changes}
        if changes.get("content"):
            request = {**changes, "content": stalling(), "headers": {"content-type": "multipart/form-data; boundary=b"}}
        response = ask("POST", path, **request)
        assert response.status_code == status, (path, response.text)
        check(template, response)


def test_models_that_are_not_served_are_answered_as_described(ask: Ask, png: Callable[..., bytes]) -> None:
    for template, path, body in uploads(png()):
        response = ask("POST", path.replace("brain_mri", "other") + "?model=other", **body)
        assert response.status_code == 404
        check(template, response)


def test_overload_is_answered_as_described(
    ask: Ask, png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise Overloaded("The queue is full.", retry_after_s=2.5)

    for method in ("predict", "predict_many", "infer"):
        monkeypatch.setattr(Engine, method, refuse)
    for template, path, body in uploads(png()):
        response = ask("POST", path, **body)
        assert (response.status_code, response.headers["retry-after"]) == (429, "3"), path
        check(template, response)


def test_a_fault_is_answered_as_described(ask: Ask, png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    for method in ("predict", "predict_many", "infer"):
        monkeypatch.setattr(Engine, method, fail)
    for template, path, body in uploads(png()):
        response = ask("POST", path, **body)
        assert response.status_code == 500
        assert "secret" not in response.text
        check(template, response)


def test_a_caller_without_a_key_is_answered_as_described_and_open_paths_need_none(
    ask: Ask, png: Callable[..., bytes], tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text("")
    keyed = {"settings": {"api_keys_file": file}}
    for template, path, body in uploads(png()):
        response = ask("POST", path, **keyed, **body)
        assert response.status_code == 401
        check(template, response)
    for path, operations in DOCUMENT["paths"].items():
        if "get" in operations and path not in BENTOML:
            status = ask("GET", path.format(name="brain_mri", version="0.0.1", id="0" * 32), **keyed).status_code
            assert status == (200 if operations["get"].get("security") == [] else 401), path
