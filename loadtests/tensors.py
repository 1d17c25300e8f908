"""Requests of the Open Inference Protocol, and how their answers are read."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2

from loadtests import answers
from loadtests.clients import Reply
from loadtests.outcomes import WrongAnswer
from loadtests.pictures import SIDE

HEAD_LENGTH = "Inference-Header-Content-Length"

_SHAPE = [1, SIDE, SIDE, 3]


def rest_request(tensor: bytes, request_id: str) -> tuple[bytes, dict[str, str]]:
    """Returns the body and headers that send one tensor, uint8 `[1, 299, 299, 3]`, by the binary extension."""
    parameters = {"binary_data_size": len(tensor)}
    entry = {"name": "image", "datatype": "UINT8", "shape": _SHAPE, "parameters": parameters}
    head = json.dumps({"id": request_id, "inputs": [entry]}).encode()
    return head + tensor, {"Content-Type": "application/octet-stream", HEAD_LENGTH: str(len(head))}


def rest_answer(reply: Reply, request_id: str, labels: Sequence[str]) -> tuple[str, list[float]]:
    """Returns the version of the model that answered, and its probabilities.

    Raises:
        WrongAnswer: The answer does not hold what the protocol promises.
    """
    body = answers.read_json(reply.body)
    answers.check_id(request_id, body.get("id"), reply.headers.get("x-request-id"))
    outputs = {output["name"]: output["data"] for output in body.get("outputs", [])}
    return str(body.get("model_version")), _checked(outputs.get("probabilities"), labels)


def grpc_tensor(model: str, tensor: bytes, request_id: str) -> Any:
    """Returns the `ModelInferRequest` with one tensor, uint8 `[1, 299, 299, 3]`."""
    return _request(model, request_id, "UINT8", _SHAPE, tensor)


def grpc_image(model: str, file: bytes, request_id: str) -> Any:
    """Returns the `ModelInferRequest` with one encoded image, BYTES `[1, 1]`."""
    return _request(f"{model}_image", request_id, "BYTES", [1, 1], len(file).to_bytes(4, "little") + file)


def grpc_answer(
    answer: Any, trailing: Mapping[str, str], request_id: str, labels: Sequence[str]
) -> tuple[str, list[float]]:
    """Returns the version of the model that answered, and its probabilities.

    Raises:
        WrongAnswer: The answer does not hold what the protocol promises.
    """
    answers.check_id(request_id, answer.id, trailing.get("x-request-id"))
    raw = {output.name: part for output, part in zip(answer.outputs, answer.raw_output_contents, strict=False)}
    values = np.frombuffer(raw.get("probabilities", b""), "<f4").tolist()
    probabilities = _checked(values, labels)
    if "label" in raw:
        label = raw["label"][4:].decode()
        if label != labels[int(np.argmax(probabilities))] and label not in answers.ABSTENTIONS:
            raise WrongAnswer("the label is not the most probable one")
    return str(answer.model_version), probabilities


def _request(model: str, request_id: str, datatype: str, shape: Sequence[int], content: bytes) -> Any:
    request = service_pb2.ModelInferRequest(model_name=model, id=request_id)
    request.inputs.add(name="image", datatype=datatype, shape=shape)
    request.raw_input_contents.append(content)
    return request


def _checked(values: Any, labels: Sequence[str]) -> list[float]:
    if not isinstance(values, list) or len(values) != len(labels):
        raise WrongAnswer("another number of probabilities than labels")
    answers.check_probabilities(values)
    return values
