"""The interface's own documentation: the OpenAPI document, the page that shows it, and the answer to unknown paths."""

from collections.abc import Sequence
from functools import cache
from http import HTTPStatus
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.staticfiles import StaticFiles

from brainmri.http.openapi import openapi_document
from brainmri.web.middleware import UNMATCHED

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
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def documentation_routes(swagger: Path | None) -> list[BaseRoute]:
    """Returns the routes of the document and, given the folder of Swagger UI's files, of its page at `/`."""
    routes: list[BaseRoute] = [Route("/docs.json", _docs_json, methods=["GET"])]
    if swagger is not None:
        routes += [
            Route("/", _docs_page, methods=["GET"]),
            Mount("/static_content", StaticFiles(directory=swagger), name="static_content"),
        ]
    return routes


def unknown_route(known: Sequence[BaseRoute]) -> Route:
    """Returns the last route, which refuses what `known` does not take; without it BentoML answers in plain text."""

    async def unknown(request: Request) -> Response:
        for route in known:
            # A route that matches but for its method.
            if isinstance(route, Route) and route.matches(request.scope)[0] is Match.PARTIAL:
                allowed = ", ".join(sorted(route.methods or ()))
                raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": allowed})
        raise HTTPException(HTTPStatus.NOT_FOUND)

    return Route("/{path:path}", unknown, methods=_METHODS, name=UNMATCHED)


@cache
def _document() -> bytes:
    return bytes(JSONResponse(openapi_document()).body)


async def _docs_json(_: Request) -> Response:
    return Response(_document(), media_type="application/json")


async def _docs_page(_: Request) -> HTMLResponse:
    return HTMLResponse(_DOCS)
