"""The REST routes of the Open Inference Protocol."""

import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from brainmri.batching.call import Call
from brainmri.batching.engine import Engine
from brainmri.blocking import Stop
from brainmri.errors import MalformedRequest
from brainmri.open_inference.about import all_statistics, configuration, index, metadata, server_metadata
from brainmri.open_inference.dataplane import DataPlane
from brainmri.open_inference.models import ServedModel, find_model, served_models
from brainmri.open_inference.rest_body import ENCODINGS, choose_encoding, compress, read_decompressed
from brainmri.open_inference.rest_infer import LARGE_JSON, RestRequest, answer_body, parse_request
from brainmri.web.body import BodyLimits
from brainmri.web.call import call_of, cancel_on_disconnect

HEADER_LENGTH = "Inference-Header-Content-Length"

_Endpoint = Callable[[Request], Awaitable[Response]]


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
