"""POST /predict for one image, /predict_batch for several, /preview for what the model sees of a file."""

from collections.abc import Sequence

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from brainmri.batching.call import Call
from brainmri.batching.engine import Engine
from brainmri.batching.previews import Previews
from brainmri.errors import BrainMRIError, InvalidInput
from brainmri.model.predictor import Prediction
from brainmri.observe.metrics import Metrics
from brainmri.settings import Settings
from brainmri.web.call import call_of, cancel_on_disconnect
from brainmri.web.schemas import batch_body, prediction_body
from brainmri.web.upload import read_image, read_images

IMAGE_FRAME = "X-Image-Frame"
"""Header that tells which frame of the file was drawn, from 0."""

IMAGE_FRAMES = "X-Image-Frames"
"""Header that tells how many frames the file has; absent where they cannot be counted."""


def predict_routes(engine: Engine, metrics: Metrics, settings: Settings) -> list[BaseRoute]:
    """Returns the routes that answer uploads of image files."""

    async def predict(request: Request) -> Response:
        call = call_by_query(request, engine, settings)
        data = await read_image(request, settings, call.deadline)
        prediction = await cancel_on_disconnect(request, call.deadline, engine.predict(call, data))
        metrics.observe_prediction(prediction, call.record)
        return json_response(prediction_body(prediction, request.state.request_id, call.predictor.contract.notice))

    async def predict_batch(request: Request) -> Response:
        call = call_by_query(request, engine, settings)
        uploads = await read_images(request, settings, call.deadline)
        images = [upload for upload in uploads if isinstance(upload, bytes)]
        answered = iter(await cancel_on_disconnect(request, call.deadline, engine.predict_many(call, images)))
        answers = [next(answered) if isinstance(upload, bytes) else upload for upload in uploads]
        require_an_answer(answers)
        for answer in answers:
            if isinstance(answer, Prediction):
                metrics.observe_prediction(answer, call.record)
            else:
                metrics.count_error(answer)
        return json_response(batch_body(answers, request.state.request_id, call.predictor.contract.notice))

    return [
        Route("/predict", predict, methods=["POST"]),
        Route("/predict_batch", predict_batch, methods=["POST"]),
    ]


def require_an_answer(answers: Sequence[Prediction | BrainMRIError]) -> None:
    """Makes a request of several images fail as a whole when nothing was answered and that is not the images' fault.

    An overloaded server must say 429, not 200 with a list of refusals, or else no client and no balancer slows down.

    Raises:
        BrainMRIError: The first error that is not about an image.
    """
    if any(isinstance(answer, Prediction) for answer in answers):
        return
    for answer in answers:
        if isinstance(answer, BrainMRIError) and not isinstance(answer, InvalidInput):
            raise answer


def json_response(body: BaseModel) -> Response:
    """Returns a body as JSON."""
    return Response(body.model_dump_json(), media_type="application/json")


def call_by_query(request: Request, engine: Engine, settings: Settings) -> Call:
    """Returns the call of a request whose query may name a model; errors as in `call_of`, and `ModelNotFound`."""
    query = request.query_params
    predictor = engine.models.get(query.get("model", ""), query.get("version", ""))
    return call_of(request, engine, settings, predictor)


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
