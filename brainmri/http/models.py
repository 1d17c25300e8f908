"""GET /model: what one model promises. GET /models: which are served."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from brainmri.batching.engine import Engine
from brainmri.http.predict import json_response
from brainmri.web.schemas import ModelDescription, ModelsBody, served_bodies


def model_routes(engine: Engine) -> list[BaseRoute]:
    """Returns the routes that describe the models."""

    async def model(request: Request) -> Response:
        query = request.query_params
        predictor = engine.models.get(query.get("name", ""), query.get("version", ""))
        return json_response(
            ModelDescription(
                **predictor.contract.model_dump(),
                card=predictor.card,
                runtime=predictor.model.runtime,
                served=served_bodies(engine.models.all()),
            )
        )

    async def models(_: Request) -> Response:
        return json_response(ModelsBody(models=served_bodies(engine.models.all())))

    return [Route("/model", model, methods=["GET"]), Route("/models", models, methods=["GET"])]
