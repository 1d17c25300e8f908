"""POST /preview: what the model sees of a file, as a PNG picture, for files that a browser cannot draw."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from brainmri.batching.engine import Engine
from brainmri.batching.previews import Previews
from brainmri.http.predict import call_by_query
from brainmri.settings import Settings
from brainmri.web.call import cancel_on_disconnect
from brainmri.web.upload import read_image

IMAGE_FRAME = "X-Image-Frame"
"""Header that tells which frame of the file was drawn, from 0."""

IMAGE_FRAMES = "X-Image-Frames"
"""Header that tells how many frames the file has; absent where they cannot be counted."""


def preview_routes(engine: Engine, settings: Settings, previews: Previews) -> list[BaseRoute]:
    """Returns the route."""

    async def preview(request: Request) -> Response:
        call = call_by_query(request, engine, settings)
        data = await read_image(request, settings, call.deadline)
        drawn = await cancel_on_disconnect(request, call.deadline, previews.draw(data, call))
        headers = {IMAGE_FRAME: str(drawn.source.frame)}
        if drawn.source.frames is not None:
            headers[IMAGE_FRAMES] = str(drawn.source.frames)
        return Response(drawn.png, media_type="image/png", headers=headers)

    return [Route("/preview", preview, methods=["POST"])]
