from typing import Any

from brainmri.api.openapi import openapi_document


def _resolve(document: dict[str, Any], reference: str) -> Any:
    node: Any = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        found = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return found + [reference for value in node.values() for reference in _references(value)]
    return [reference for item in node for reference in _references(item)] if isinstance(node, list) else []


def test_predict_takes_a_form_with_one_file_or_a_raw_image() -> None:
    content = openapi_document()["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert sorted(content) == ["image/*", "multipart/form-data"]
    form = content["multipart/form-data"]["schema"]
    assert form["required"] == ["image"]
    assert form["properties"]["image"]["format"] == "binary"


def test_every_answer_of_predict_is_described_with_its_schema() -> None:
    responses = openapi_document()["paths"]["/predict"]["post"]["responses"]
    schemas = {status: answer["content"]["application/json"]["schema"]["$ref"] for status, answer in responses.items()}
    error = "#/components/schemas/ErrorBody"
    assert schemas == {
        "200": "#/components/schemas/PredictionBody",
        "400": error,
        "413": error,
        "500": error,
        "503": error,
        "504": error,
    }


def test_every_reference_resolves() -> None:
    document = openapi_document()
    references = _references(document)
    assert len(references) >= 8
    for reference in references:
        assert "properties" in _resolve(document, reference) or "enum" in _resolve(document, reference)


def test_the_prediction_schema_is_the_one_of_the_answers() -> None:
    schema = openapi_document()["components"]["schemas"]["PredictionBody"]
    assert sorted(schema["required"]) == sorted(schema["properties"])
    assert schema["properties"]["confidence"]["maximum"] == 1
