"""What BentoML's own clients read to learn which methods a service has."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from brainmri.web.upload import FIELD, FIELD_OF_MANY

_FILE = {"type": "file", "format": "binary"}
_METHODS = (
    ("predict", FIELD, _FILE, "Classifies one slice; `image` is a path or a file that is open for reading bytes."),
    ("predict_batch", FIELD_OF_MANY, {"type": "array", "items": _FILE}, "Classifies several slices."),
)


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
        for name, field, schema, doc in _METHODS
    ]
