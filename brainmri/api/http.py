"""The HTTP interface: POST /predict, GET /model, and its own documentation."""

import asyncio
import logging
from functools import cache
from http import HTTPStatus
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.staticfiles import StaticFiles

from brainmri.api.middleware import UNMATCHED, RequestMiddleware
from brainmri.api.openapi import openapi_document
from brainmri.api.schemas import error_body, plain_error_body, prediction_body
from brainmri.api.upload import read_image
from brainmri.errors import BrainMRIError, status_of
from brainmri.inference.deadline import Deadline
from brainmri.inference.engine import Engine
from brainmri.metrics import Metrics

_logger = logging.getLogger(__name__)

_DOCS = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><title>brainmri</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="./static_content/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="./static_content/swagger-ui-bundle.js"></script>
<script src="./static_content/swagger-ui-standalone-preset.js"></script>
<script src="./static_content/swagger-initializer.js"></script>
</body>
</html>
"""


def create_app(
    engine: Engine, metrics: Metrics, max_image_bytes: int, request_timeout_s: float, swagger: Path | None = None
) -> Starlette:
    """Builds the application; it answers 503 until the engine is ready.

    Args:
        engine: What predicts.
        metrics: What counts.
        max_image_bytes: Largest image, in bytes.
        request_timeout_s: Longest time for one prediction, its upload included, in seconds.
        swagger: Folder of the Swagger UI's files, whose initializer reads `./docs.json`; no page at `/` if None.
    """

    async def predict(request: Request) -> JSONResponse:
        predictor = engine.models.default  # Refuses before the upload is read.
        deadline = Deadline.after(request_timeout_s)
        try:
            async with asyncio.timeout(request_timeout_s):
                prediction = await engine.predict(await read_image(request, max_image_bytes), deadline)
        except TimeoutError as error:
            raise deadline.exceeded() from error
        metrics.observe_prediction(prediction)
        body = prediction_body(prediction, request.state.request_id, predictor.contract.notice)
        return JSONResponse(body.model_dump())

    async def model(_: Request) -> Response:
        return Response(engine.models.default.contract.to_json(), media_type="application/json")

    routes: list[BaseRoute] = [
        Route("/predict", predict, methods=["POST"]),
        Route("/model", model, methods=["GET"]),
        Route("/docs.json", _docs_json, methods=["GET"]),
    ]
    if swagger is not None:
        routes += [
            Route("/", _docs_page, methods=["GET"]),
            Mount("/static_content", StaticFiles(directory=swagger), name="static_content"),
        ]
    # Without a route of its own an unknown path would get BentoML's plain text.
    routes.append(Route("/{path:path}", _unknown, methods=_METHODS, name=UNMATCHED))
    return Starlette(
        routes=routes,
        middleware=[Middleware(RequestMiddleware, metrics=metrics)],
        exception_handlers={
            BrainMRIError: _expected_error,
            HTTPException: _http_error,
            ClientDisconnect: _gone,
        },
    )


_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@cache
def _document() -> bytes:
    return bytes(JSONResponse(openapi_document()).body)


async def _docs_json(_: Request) -> Response:
    return Response(_document(), media_type="application/json")


async def _docs_page(_: Request) -> HTMLResponse:
    return HTMLResponse(_DOCS)


async def _unknown(request: Request) -> Response:
    for route in request.app.routes:
        # A route that matches but for its method; this one here matches every path and method.
        if isinstance(route, Route) and route.matches(request.scope)[0] is Match.PARTIAL:
            raise HTTPException(
                HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(sorted(route.methods or ()))}
            )
    raise HTTPException(HTTPStatus.NOT_FOUND)


async def _expected_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BrainMRIError)  # noqa: S101 -- registered for this class
    status = status_of(error).http
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        _logger.error("Request %s failed: %s", request.state.request_id, error.message)
    headers = {"Retry-After": "5"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return JSONResponse(error_body(error, request.state.request_id).model_dump(), status, headers)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 -- registered for this class
    status = HTTPStatus(error.status_code)
    message = {
        HTTPStatus.NOT_FOUND: "Nothing is at this path. The interface is described at /docs.json.",
        HTTPStatus.METHOD_NOT_ALLOWED: "This path does not take this method. The interface is described at /docs.json.",
    }.get(status, status.phrase)
    code = status.name.lower()
    return JSONResponse(plain_error_body(code, message, request.state.request_id).model_dump(), status, error.headers)


async def _gone(request: Request, _: Exception) -> Response:
    # Nobody reads this; 499 is what proxies log for it.
    _logger.info("The client of request %s left before its upload was complete", request.state.request_id)
    return Response(status_code=499)
