"""The JSON and binary bodies of an inference over REST, both ways."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field, StrictBool, StrictInt, ValidationError

from brainmri.api.open_inference.binary import split_tail
from brainmri.api.open_inference.dataplane import InferRequest, OutputTensor, WantedOutput, priority_of
from brainmri.api.open_inference.models import INPUT, Kind, ServedModel
from brainmri.api.open_inference.tensors import Tensor
from brainmri.errors import MalformedRequest

LARGE_JSON = 65536
"""Bytes of JSON from which on it is parsed in a thread, in a way that lets the event loop run on."""

_SMALL_INTEGERS = {str(value): value for value in range(256)}


class _InputParameters(BaseModel):
    binary_data_size: StrictInt | None = Field(default=None, ge=0)
    shared_memory_region: object = None


class _Input(BaseModel):
    name: str
    datatype: str
    shape: list[StrictInt]
    parameters: _InputParameters = _InputParameters()
    data: list[Any] | None = None


class _OutputParameters(BaseModel):
    binary_data: StrictBool | None = None
    classification: StrictInt | None = None
    shared_memory_region: object = None


class _Output(BaseModel):
    name: str
    parameters: _OutputParameters = _OutputParameters()


class _Parameters(BaseModel):
    binary_data_output: StrictBool = False
    timeout: StrictInt = 0
    priority: StrictInt = 0


class _Header(BaseModel):
    id: str | None = None
    parameters: _Parameters = _Parameters()
    inputs: list[_Input]
    outputs: list[_Output] = []


@dataclass(frozen=True)
class RestRequest:
    """A parsed body.

    Attributes:
        infer: What to run.
        id: The client's id, which the answer repeats; None without one.
        binary: Names of the outputs that go behind the JSON.
    """

    infer: InferRequest
    id: str | None = None
    binary: frozenset[str] = frozenset()


def parse_request(model: ServedModel, body: bytes, header_length: int | None) -> RestRequest:
    """Reads a body.

    Args:
        model: Which model it is for.
        body: The decompressed body.
        header_length: `Inference-Header-Content-Length`: the bytes of JSON in front; 0 for a body that is the one
            input itself; None for a body of JSON alone.

    Raises:
        MalformedRequest: The body is not what the protocol describes.
    """
    if header_length == 0:
        return RestRequest(InferRequest(model, [_whole_body(model, body)]))
    length = len(body) if header_length is None else header_length
    if length > len(body):
        raise MalformedRequest(
            f"Inference-Header-Content-Length is {length}, but the body has {len(body)} bytes. Send the length of the"
            " JSON in front."
        )
    view = memoryview(body)
    header = _parse_header(body if length == len(body) else bytes(view[:length]))
    outputs = [WantedOutput(output.name, output.parameters.classification) for output in header.outputs]
    parameters = header.parameters
    infer = InferRequest(
        model, _inputs(header, view[length:]), outputs, parameters.timeout, priority_of(parameters.priority)
    )
    return RestRequest(infer, header.id, _binary_outputs(model, header))


def _whole_body(model: ServedModel, body: bytes) -> Tensor:
    if model.kind is Kind.FILES:
        return Tensor(INPUT, "BYTES", (1, 1), elements=[body])
    image = model.input.shape[1:]
    # A body that is not a whole number of images does not fill this shape, and is refused for it.
    return Tensor(INPUT, "UINT8", (max(1, len(body) // math.prod(image)), *image), raw=body)


def _parse_header(data: bytes) -> _Header:
    try:
        # json holds the interpreter's lock for a whole document, unless it has to call Python for every number:
        # twice as slow, but the event loop is not stopped for 60 ms an image.
        large = len(data) > LARGE_JSON
        return _Header.model_validate(json.loads(data, parse_int=_integer) if large else json.loads(data))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the document"
        raise MalformedRequest(f"The JSON of the request is invalid at {where[:200]}: {fault['msg']}.") from error
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(
            "The request is not JSON. Send the protocol's JSON; with tensors behind it, give its length in"
            " Inference-Header-Content-Length; with 0 there, the body is one raw image."
        ) from error


def _integer(text: str) -> int:
    value = _SMALL_INTEGERS.get(text)
    return int(text) if value is None else value


def _inputs(header: _Header, tail: memoryview) -> list[Tensor]:
    regions = [tensor.parameters.shared_memory_region for tensor in header.inputs]
    regions += [output.parameters.shared_memory_region for output in header.outputs]
    if any(region is not None for region in regions):
        raise MalformedRequest("Shared memory is not offered. Send tensors in the body.")
    binary = [tensor.parameters.binary_data_size is not None for tensor in header.inputs]
    parts = iter(split_tail(tail, [tensor.parameters.binary_data_size or 0 for tensor in header.inputs]))
    return [
        _tensor(given, part if raw else None) for given, raw, part in zip(header.inputs, binary, parts, strict=True)
    ]


def _tensor(given: _Input, raw: memoryview | None) -> Tensor:
    shape = tuple(given.shape)
    if (raw is None) == (given.data is None):
        raise MalformedRequest(
            f"The input {given.name[:80]!r} needs either data in the JSON or a binary_data_size, one of the two."
        )
    if raw is not None:
        return Tensor(given.name, given.datatype, shape, raw=raw)
    if given.datatype == "BYTES":
        return Tensor(given.name, given.datatype, shape, texts=given.data)
    return Tensor(given.name, given.datatype, shape, values=given.data)


def _binary_outputs(model: ServedModel, header: _Header) -> frozenset[str]:
    default = header.parameters.binary_data_output
    if not header.outputs:
        return frozenset(output.name for output in model.outputs) if default else frozenset()
    chosen = {output.name: output.parameters.binary_data for output in header.outputs}
    return frozenset(name for name, binary in chosen.items() if (default if binary is None else binary))


def answer_body(request: RestRequest, outputs: Sequence[OutputTensor]) -> tuple[bytes, int | None]:
    """Returns the body of the answer, and the length of its JSON if tensors follow it."""
    model = request.infer.model
    tails = [output.raw() if output.name in request.binary else None for output in outputs]
    answer: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    if request.id is not None:
        answer["id"] = request.id
    answer["parameters"] = {"notice": model.predictor.contract.notice}
    answer["outputs"] = [_output_entry(output, tail) for output, tail in zip(outputs, tails, strict=True)]
    head = json.dumps(answer, separators=(",", ":"), allow_nan=False).encode()
    if not request.binary:
        return head, None
    return b"".join([head, *(tail for tail in tails if tail is not None)]), len(head)


def _output_entry(output: OutputTensor, tail: bytes | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
    if tail is not None:
        return {**entry, "parameters": {"binary_data_size": len(tail)}}
    if isinstance(output.values, list):
        return {**entry, "data": [element.decode() for element in output.elements()]}
    # JSON has no NaN; stock clients read null as NaN.
    return {**entry, "data": [None if math.isnan(value) else value for value in output.values.ravel().tolist()]}
