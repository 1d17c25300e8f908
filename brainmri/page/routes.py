"""GET /: the page for people, and what it needs to know about this server."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from brainmri import __version__
from brainmri.errors import InvalidSettings
from brainmri.model.contract import NOTICE
from brainmri.settings import Settings
from brainmri.web.middleware import CONTENT_POLICY

SITE = Path(__file__).parent / "site"
"""`index.html`, and below `page/` everything that it loads."""

FEATURES = {
    "explain": "/explain",
    "preview": "/preview",
    "frames": "/preview",
    "report": "/report",
    "feedback": "/feedback",
}
"""What the page offers only where the server has a route for it."""

MAX_SAMPLES = 24
_SAMPLES = SITE / "page" / "samples"
_ORDER = ("glioma", "meningioma", "notumor", "pituitary", "unsure", "not_a_brain_mri")
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WebP", "GIF", "JPEG 2000", "AVIF", "DICOM")


class _Files(StaticFiles):
    """Files that a browser keeps and asks about again, so that it never mixes two releases."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def page_routes(settings: Settings) -> list[BaseRoute]:
    """Returns the routes of the page.

    Args:
        settings: Limits that the page tells, and the folder of samples.

    Raises:
        InvalidSettings: The folder of samples does not exist.
    """
    samples = settings.samples or _SAMPLES
    if not samples.is_dir():
        raise InvalidSettings(f"BRAINMRI_SAMPLES={samples} is not a folder. Name one that holds image files.")
    site = _Files(directory=SITE)

    async def home(request: Request) -> Response:
        if _asks_for_json(request):
            links = {"page": "./", "docs": "./docs", "openapi": "./docs.json", "models": "./models"}
            return JSONResponse({"name": "brainmri", "version": __version__, "notice": NOTICE, "links": links})
        response = await site.get_response("index.html", request.scope)
        response.headers.update({"Content-Security-Policy": CONTENT_POLICY, "Vary": "Accept"})
        return response

    def config(request: Request) -> Response:
        body = {
            "version": __version__,
            "limits": {
                "image_bytes": settings.max_image_bytes,
                "report_images": settings.max_request_images,
                "report_bytes": settings.max_request_bytes,
            },
            "formats": _FORMATS,
            "features": _features(request.app.routes, settings),
            "samples": _sample_entries(samples),
        }
        return JSONResponse(body, headers={"Cache-Control": "no-cache"})

    return [
        Route("/", home, methods=["GET"]),
        Route("/page/config.json", config, methods=["GET"]),
        Mount("/page/samples", _Files(directory=samples)),
        Mount("/page", _Files(directory=SITE / "page")),
    ]


def _features(routes: Sequence[BaseRoute], settings: Settings) -> list[str]:
    paths = {route.path for route in routes if isinstance(route, Route)}
    if settings.feedback_dir is None:
        paths.discard(FEATURES["feedback"])
    return [name for name, path in FEATURES.items() if path in paths]


def _asks_for_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "text/html" not in accepted


def _sample_entries(folder: Path) -> list[dict[str, str]]:
    """Returns name and address of each sample: those of the answers first, then by name."""
    files = [file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES and file.is_file()]
    rank = {name: place for place, name in enumerate(_ORDER)}
    files.sort(key=lambda file: (rank.get(file.stem, len(rank)), file.name))
    return [{"name": file.stem, "url": f"page/samples/{quote(file.name)}"} for file in files[:MAX_SAMPLES]]
