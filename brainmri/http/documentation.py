"""The interface's own documentation: the OpenAPI document, the page that shows it, and the answer to unknown paths."""

from collections.abc import Sequence
from functools import cache
from http import HTTPStatus
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.staticfiles import StaticFiles

from brainmri.http.openapi import openapi_document
from brainmri.web.content_policy import CONTENT_POLICY
from brainmri.web.middleware import UNMATCHED

_DOCS = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><title>brainmri: API</title>
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
# Swagger UI's logo brings its colours in a style element of its own; this is the digest of its text.
_LOGO_STYLE = "'sha256-RL3ie0nH+Lzz2YNqQN83mnU0J1ot4QL7b99vMdIX99w='"
_DOCS_POLICY = CONTENT_POLICY.replace("style-src 'self'", f"style-src 'self' {_LOGO_STYLE}")
_ELSEWHERE = {"/ui": "./", "/health": "./livez"}
"""Paths that other servers have, and what answers here."""
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def document_route() -> Route:
    """Returns the route of the OpenAPI document."""
    return Route("/docs.json", _docs_json, methods=["GET"])


def swagger_routes(folder: Path) -> list[BaseRoute]:
    """Returns the routes of the page that shows the document.

    Args:
        folder: Swagger UI's files; their initializer reads `./docs.json`.
    """
    return [
        Route("/docs", _docs_page, methods=["GET"]),
        Mount("/static_content", StaticFiles(directory=folder), name="static_content"),
    ]


def unknown_route(known: Sequence[BaseRoute]) -> Route:
    """Returns the last route, which refuses what `known` does not take; without it BentoML answers in plain text."""

    async def unknown(request: Request) -> Response:
        # Of routes that match but for their method, and of paths that BentoML answers by a method of its own.
        allowed = {method.upper() for method in _described_paths().get(request.url.path, ())}
        for route in known:
            if isinstance(route, Route) and route.matches(request.scope)[0] is Match.PARTIAL:
                allowed |= route.methods or set()
        if allowed:
            raise _wrong_method(request.method, sorted(allowed))
        if request.method in ("GET", "HEAD") and request.url.path in _ELSEWHERE:
            return RedirectResponse(_ELSEWHERE[request.url.path])
        raise HTTPException(HTTPStatus.NOT_FOUND)

    return Route("/{path:path}", unknown, methods=_METHODS, name=UNMATCHED)


def _wrong_method(method: str, allowed: Sequence[str]) -> HTTPException:
    names = ", ".join(allowed)
    page = "The page for people is at /, and the" if method == "GET" else "The"
    detail = f"This path takes {names}, not {method}. {page} interface is described at /docs."
    return HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, detail, headers={"Allow": names})


@cache
def _described_paths() -> dict[str, dict[str, object]]:
    return dict(openapi_document()["paths"])


@cache
def _document() -> bytes:
    return bytes(JSONResponse(openapi_document()).body)


async def _docs_json(_: Request) -> Response:
    return Response(_document(), media_type="application/json")


async def _docs_page(_: Request) -> HTMLResponse:
    return HTMLResponse(_DOCS, headers={"Content-Security-Policy": _DOCS_POLICY})
