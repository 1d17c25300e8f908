"""The REST routes of the Open Inference Protocol."""

import json
import math
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from brainmri.batching.call import Call
from brainmri.batching.engine import Engine
from brainmri.blocking import Stop
from brainmri.errors import MalformedRequest
from brainmri.imaging.picture import ReadOptions
from brainmri.open_inference.dataplane import DataPlane, InferRequest, priority_of
from brainmri.open_inference.models import (
    INPUT,
    Kind,
    ServedModel,
    all_statistics,
    configuration,
    find_model,
    index,
    metadata,
    served_models,
    server_metadata,
)
from brainmri.open_inference.outputs import OutputTensor, WantedOutput
from brainmri.open_inference.rest_body import (
    ENCODINGS,
    Header,
    Input,
    Numbers,
    Output,
    choose_encoding,
    compress,
    parse_header,
    read_decompressed,
    take_numbers,
)
from brainmri.open_inference.tensors import Tensor, split_tail
from brainmri.web.body import BodyLimits
from brainmri.web.call import call_of, cancel_on_disconnect

LARGE_JSON = 65536
"""Bytes of JSON from which on it is parsed in a thread."""

HEADER_LENGTH = "Inference-Header-Content-Length"

_Endpoint = Callable[[Request], Awaitable[Response]]


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


def parse_request(model: ServedModel, body: bytes, header_length: int | None, stop: Stop) -> RestRequest:
    """Reads a body.

    Args:
        model: Which model it is for.
        body: The decompressed body.
        header_length: `Inference-Header-Content-Length`: the bytes of JSON in front; 0 for a body that is the one
            input itself; None for a body of JSON alone.
        stop: Ends the reading.

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
    token = secrets.token_hex(16)
    document, numbers = take_numbers(body if length == len(body) else bytes(view[:length]), token, stop)
    header = parse_header(document)
    outputs = [_wanted(output) for output in header.outputs]
    parameters = header.parameters
    infer = InferRequest(
        model,
        _inputs(header, numbers, view[length:]),
        outputs,
        parameters.timeout,
        priority_of(parameters.priority),
        ReadOptions(parameters.frame, parameters.force),
    )
    return RestRequest(infer, header.id, _binary_outputs(model, header))


def _wanted(output: Output) -> WantedOutput:
    return WantedOutput(output.name, output.parameters.classification, output.parameters.label)


def _whole_body(model: ServedModel, body: bytes) -> Tensor:
    if model.kind is Kind.FILES:
        return Tensor(INPUT, "BYTES", (1, 1), elements=[body])
    image = model.input.shape[1:]
    # A body that is not a whole number of images does not fill this shape, and is refused for it.
    return Tensor(INPUT, "UINT8", (max(1, len(body) // math.prod(image)), *image), raw=body)


def _inputs(header: Header, numbers: Mapping[str, Numbers], tail: memoryview) -> list[Tensor]:
    regions = [tensor.parameters.shared_memory_region for tensor in header.inputs]
    regions += [output.parameters.shared_memory_region for output in header.outputs]
    if any(region is not None for region in regions):
        raise MalformedRequest("Shared memory is not offered. Send tensors in the body.")
    parts = split_tail(tail, [given.parameters.binary_data_size or 0 for given in header.inputs])
    return [_tensor(given, numbers, part) for given, part in zip(header.inputs, parts, strict=True)]


def _tensor(given: Input, numbers: Mapping[str, Numbers], part: memoryview) -> Tensor:
    name, datatype, shape = given.name, given.datatype, tuple(given.shape)
    if (given.parameters.binary_data_size is None) == (given.data is None):
        raise MalformedRequest(
            f"The input {name[:80]!r} needs either data in the JSON or a binary_data_size, one of the two."
        )
    if given.data is None:
        return Tensor(name, datatype, shape, raw=part)
    found = numbers.get(given.data) if isinstance(given.data, str) else None
    if found is None:
        return _texts(given)
    if datatype == "UINT8" and not found.is_flat_or_nested_as(shape):
        raise MalformedRequest(f"The data of the input {name[:80]!r} is neither flat nor nested as {list(shape)[:8]}.")
    # The packed numbers are UINT8 and nothing else; for other datatypes their count is all that is known of them.
    return Tensor(name, datatype, shape, **({"raw": found.packed} if datatype == "UINT8" else {"values": ()}))


def _texts(given: Input) -> Tensor:
    if not isinstance(given.data, list) or given.datatype == "UINT8":
        raise MalformedRequest(
            f"The data of the input {given.name[:80]!r} must be a list of integers from 0 to 255 for UINT8, or of texts"
            " for BYTES.",
            limit="0 to 255",
        )
    return Tensor(given.name, given.datatype, tuple(given.shape), texts=given.data)


def _binary_outputs(model: ServedModel, header: Header) -> frozenset[str]:
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


def routes(plane: DataPlane) -> list[BaseRoute]:
    """Returns the routes below `/v2`.

    Errors leave them as exceptions; `brainmri.web.failures` gives them the protocol's shape, `{"error": "..."}`.

    Args:
        plane: What answers inferences, over gRPC too.
    """
    return [*_server_routes(plane), *_model_routes(plane), *_versioned("/infer", _infer(plane), "POST")]


def _server_routes(plane: DataPlane) -> list[BaseRoute]:
    engine = plane.engine

    async def server(_: Request) -> Response:
        return JSONResponse(server_metadata())

    async def live(_: Request) -> Response:
        is_alive = engine.server_alive
        return JSONResponse({"live": is_alive}, 200 if is_alive else 503)

    async def ready(_: Request) -> Response:
        is_ready = engine.server_ready
        return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)

    async def repository(_: Request) -> Response:
        return JSONResponse(index(engine))

    async def statistics(_: Request) -> Response:
        return JSONResponse(all_statistics(plane.statistics, served_models(engine)))

    return [
        Route("/v2", server, methods=["GET"]),
        Route("/v2/health/live", live, methods=["GET"]),
        Route("/v2/health/ready", ready, methods=["GET"]),
        Route("/v2/repository/index", repository, methods=["POST"]),
        # Before the route of a model's metadata, which would take `stats` for a name.
        Route("/v2/models/stats", statistics, methods=["GET"]),
    ]


def _model_routes(plane: DataPlane) -> list[BaseRoute]:
    engine = plane.engine

    async def ready(request: Request) -> Response:
        model = _model(engine, request)
        is_ready = engine.server_ready
        return JSONResponse({"name": model.name, "ready": is_ready}, 200 if is_ready else 503)

    async def about(request: Request) -> Response:
        return JSONResponse(metadata(engine, _model(engine, request)))

    async def config(request: Request) -> Response:
        return JSONResponse(configuration(_model(engine, request), plane.settings))

    async def statistics(request: Request) -> Response:
        return JSONResponse(all_statistics(plane.statistics, [_model(engine, request)]))

    endpoints = {"": about, "/ready": ready, "/config": config, "/stats": statistics}
    return [route for suffix, endpoint in endpoints.items() for route in _versioned(suffix, endpoint, "GET")]


def _versioned(suffix: str, endpoint: _Endpoint, method: str) -> list[BaseRoute]:
    prefixes = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
    return [Route(prefix + suffix, endpoint, methods=[method]) for prefix in prefixes]


def _model(engine: Engine, request: Request) -> ServedModel:
    return find_model(engine, request.path_params["name"], request.path_params.get("version", ""))


def _infer(plane: DataPlane) -> _Endpoint:
    async def infer(request: Request) -> Response:
        model = _model(plane.engine, request)
        header_length = _header_length(request)
        call = call_of(request, plane.engine, plane.settings, model.predictor)
        limits = BodyLimits(
            plane.settings.max_request_bytes, plane.settings.upload_idle_timeout_s, call.deadline, ENCODINGS
        )
        # Counted after the upload: slow clients must not keep the others out.
        body = await read_decompressed(request, limits, plane.threads, call.admitted)
        with plane.admission.tensors():
            parsed = await _parse(plane, request, model, body, header_length, call)
            outputs = await cancel_on_disconnect(request, call.deadline, plane.infer(call, parsed.infer))
        return _response(request, *answer_body(parsed, outputs))

    return infer


async def _parse(
    plane: DataPlane, request: Request, model: ServedModel, body: bytes, header_length: int | None, call: Call
) -> RestRequest:
    stop = Stop()
    if (len(body) if header_length is None else header_length) <= LARGE_JSON:
        return parse_request(model, body, header_length, stop)
    work = plane.threads.run(parse_request, model, body, header_length, stop, stop=stop)
    return await cancel_on_disconnect(request, call.deadline, work)


def _header_length(request: Request) -> int | None:
    given = request.headers.get(HEADER_LENGTH)
    if given is None:
        return None
    if not re.fullmatch(r"[0-9]{1,12}", given):
        raise MalformedRequest(f"{HEADER_LENGTH} is {given[:40]!r}. Send the length of the JSON in bytes.")
    return int(given)


def _response(request: Request, body: bytes, json_length: int | None) -> Response:
    headers = {"Vary": "Accept-Encoding"}
    if json_length is not None:
        # Of the JSON before compression, as clients count it after unpacking.
        headers[HEADER_LENGTH] = str(json_length)
    encoding = choose_encoding(request.headers.get("accept-encoding", ""), len(body))
    if encoding is not None:
        headers["Content-Encoding"] = encoding
        body = compress(body, encoding)
    return Response(body, 200, headers, "application/json" if json_length is None else "application/octet-stream")
