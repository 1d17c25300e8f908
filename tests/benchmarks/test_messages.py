"""Tests of the requests that are made beforehand, read by parsers that are not ours."""

import json
from email import message_from_bytes
from email.policy import HTTP

import numpy as np
import pytest
from tritonclient.grpc import service_pb2
from tritonclient.http import InferInput

from benchmarks.answers import grpc_label, rest_label, verdicts
from benchmarks.messages import batch_upload, grpc_tensor, rest_tensor, upload

TENSOR = np.arange(2 * 299 * 299 * 3, dtype=np.uint32).astype(np.uint8).reshape(2, 299, 299, 3)


def split(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    line, *rest = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (row.partition(": ") for row in rest)}
    assert int(headers["content-length"]) == len(body)
    return line, headers, body


def parse_form(request: bytes) -> list[tuple[str, bytes]]:
    """Returns field and content of each file."""
    _, headers, body = split(request)
    form = message_from_bytes(b"Content-Type: " + headers["content-type"].encode() + b"\r\n\r\n" + body, policy=HTTP)
    found: list[tuple[str, bytes]] = []
    for part in form.iter_parts():
        content: bytes = part.get_content()
        found.append((str(part.get_param("name", header="content-disposition")), content))
    return found


def test_an_upload_carries_one_file() -> None:
    request = upload(b"\xff\xd8 some\r\nbytes")
    assert split(request)[0] == "POST /predict HTTP/1.1"
    assert parse_form(request) == [("image", b"\xff\xd8 some\r\nbytes")]


def test_a_batch_carries_its_files_in_order() -> None:
    request = batch_upload([b"one", b"", b"three"])
    assert split(request)[0] == "POST /predict_batch HTTP/1.1"
    assert parse_form(request) == [("images", b"one"), ("images", b""), ("images", b"three")]


def test_a_rest_tensor_is_what_the_stock_client_sends() -> None:
    line, headers, body = split(rest_tensor("brain_mri", TENSOR))
    assert line == "POST /v2/models/brain_mri/infer HTTP/1.1"
    length = int(headers["inference-header-content-length"])
    head = json.loads(body[:length])
    stock = InferInput("image", list(TENSOR.shape), "UINT8")
    stock.set_data_from_numpy(TENSOR)
    assert head["inputs"] == [stock._get_tensor()]
    assert body[length:] == TENSOR.tobytes()
    assert head["outputs"] == [{"name": "probabilities", "parameters": {"binary_data": True}}]


def test_a_grpc_tensor_is_a_request_of_the_protocol() -> None:
    request = service_pb2.ModelInferRequest.FromString(grpc_tensor("brain_mri", TENSOR))
    assert request.model_name == "brain_mri"
    assert [(one.name, one.datatype, list(one.shape)) for one in request.inputs] == [
        ("image", "UINT8", [2, 299, 299, 3])
    ]
    assert list(request.raw_input_contents) == [TENSOR.tobytes()]


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b'{"label":null,"verdict":"not_a_brain_mri"}', "not_a_brain_mri"),
        (b'{"error": {"code": "overloaded", "message": "x"}}', "overloaded"),
        (b'{"results":[{"verdict":"glioma"},{"error":{"code":"image_unreadable"}}]}', "glioma,image_unreadable"),
        (b"", ""),
    ],
)
def test_json_answers_are_read_by_verdict_or_code(body: bytes, answer: str) -> None:
    assert verdicts(body) == answer


def test_probabilities_are_read_by_the_largest() -> None:
    rows = np.array([[0, 0.9, 0.1, 0], [0.1, 0, 0.2, 0.7]], np.float32).tobytes()
    assert rest_label(rows) == "meningioma,pituitary"
    message = service_pb2.ModelInferResponse(raw_output_contents=[rows]).SerializeToString()
    assert grpc_label(message) == "meningioma,pituitary"
    assert grpc_label(b"") == ""
