"""What the interface tells about itself: OpenAPI and its page, BentoML's client schema, models, unknown paths."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from http import HTTPStatus
from pathlib import Path
from string import Template
from typing import Any

import yaml
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from brainmri import __version__
from brainmri.batching.engine import Engine
from brainmri.http.predict import json_response
from brainmri.model.contract import NOTICE
from brainmri.model.predictor import Predictor
from brainmri.settings import Settings
from brainmri.web.middleware import CONTENT_POLICY, UNMATCHED
from brainmri.web.schemas import ModelDescription, ModelsBody, served_bodies
from brainmri.web.upload import FIELD, FIELD_OF_MANY

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
_OPENAPI = Path(__file__).with_name("openapi.yaml")
_FILLED_IN = "${"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

_FILE = {"type": "file", "format": "binary"}
_CLIENT_METHODS = (
    ("predict", FIELD, _FILE, "Classifies one slice; `image` is a path or a file that is open for reading bytes."),
    ("predict_batch", FIELD_OF_MANY, {"type": "array", "items": _FILE}, "Classifies several slices."),
)


def openapi_document(served: Sequence[Predictor], settings: Settings) -> dict[str, Any]:
    """Returns the OpenAPI document: `openapi.yaml` with what settings and the served models decide.

    Args:
        served: The served models, the default first; the examples name it, or the configured one while none is loaded.
        settings: Limits.
    """
    return dict(_filled(_openapi_file(), _values(served, settings)))


@cache
def _openapi_file() -> dict[str, Any]:
    # The parser in C takes 20 ms, the one in Python 190 ms.
    document: dict[str, Any] = yaml.load(_OPENAPI.read_bytes(), Loader=yaml.CSafeLoader)
    del document["x-errors"]
    return document


@lru_cache(maxsize=1)
def _rendered(values: tuple[tuple[str, object], ...]) -> bytes:
    return bytes(JSONResponse(_filled(_openapi_file(), dict(values))).body)


def _values(served: Sequence[Predictor], settings: Settings) -> dict[str, object]:
    name, _, version = settings.models[0].partition(":")
    model = {"model": name, "version": version, "serving_name": name, "runtime": settings.runtime, "notice": NOTICE}
    if served:
        identity, contract = served[0].model, served[0].contract
        model = {
            "model": identity.name,
            "version": identity.version,
            "serving_name": contract.serving_name,
            "runtime": identity.runtime,
            "notice": contract.notice,
        }
    return {
        **model,
        "server_version": __version__,
        "max_request_images": settings.max_request_images,
        "request_timeout_s": f"{settings.request_timeout_s:g}",
    }


def _filled(node: Any, values: Mapping[str, object]) -> Any:
    """Returns a copy of a part of the document with its values; a text that is one name takes the type of its value."""
    if isinstance(node, dict):
        return {key: _filled(child, values) for key, child in node.items()}
    if isinstance(node, list):
        return [_filled(child, values) for child in node]
    if not isinstance(node, str) or _FILLED_IN not in node:
        return node
    whole = node.removeprefix(_FILLED_IN).removesuffix("}")
    return values[whole] if whole in values else Template(node).substitute(values)


def document_route(engine: Engine, settings: Settings) -> Route:
    """Returns the route of the OpenAPI document."""

    async def show(_: Request) -> Response:
        values = _values(engine.models.all(), settings)
        return Response(_rendered(tuple(values.items())), media_type="application/json")

    return Route("/docs.json", show, methods=["GET"])


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
        allowed = {method.upper() for method in _openapi_file()["paths"].get(request.url.path, ())}
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


async def _docs_page(_: Request) -> HTMLResponse:
    return HTMLResponse(_DOCS, headers={"Content-Security-Policy": _DOCS_POLICY})


class ClientSchemaMiddleware:
    """Adds our uploads to `/schema.json`, so that `bentoml.SyncHTTPClient(url).predict(image=path)` works.

    BentoML lists only methods of its own there, whose file parameters would fetch URLs.

    Args:
        app: What answers everything else.
        schema: Returns BentoML's own schema of the service.
    """

    def __init__(self, app: ASGIApp, schema: Callable[[], Mapping[str, Any]]) -> None:
        self._app = app
        self._schema = schema

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("GET", "/schema.json"):
            await self._app(scope, receive, send)
            return
        schema = self._schema()
        await JSONResponse({**schema, "routes": [*schema["routes"], *_routes()]})(scope, receive, send)


def _routes() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "route": f"/{name}",
            "doc": doc,
            "batchable": False,
            "input": {"type": "object", "required": [field], "properties": {field: schema}},
            "output": {"type": "object"},
        }
        for name, field, schema, doc in _CLIENT_METHODS
    ]


def model_routes(engine: Engine) -> list[BaseRoute]:
    """Returns the routes that describe the models."""

    async def model(request: Request) -> Response:
        query = request.query_params
        predictor = engine.models.get(query.get("name", ""), query.get("version", ""))
        return json_response(
            ModelDescription(
                **predictor.contract.model_dump(),
                card=predictor.documents.card,
                figures=predictor.documents.figures,
                runtime=predictor.model.runtime,
                served=served_bodies(engine.models.all()),
            )
        )

    async def models(_: Request) -> Response:
        return json_response(ModelsBody(models=served_bodies(engine.models.all())))

    return [Route("/model", model, methods=["GET"]), Route("/models", models, methods=["GET"])]
