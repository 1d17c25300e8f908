"""KServe's protocol V1, which is TensorFlow Serving's REST API: `POST /v1/models/NAME:predict` and `:explain`.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from brainmri.batching.call import Call
from brainmri.batching.engine import Engine
from brainmri.blocking import Stop, Threads
from brainmri.errors import BrainMRIError, NotReady
from brainmri.http.explain import wanted_of
from brainmri.http.instances import InstanceLimits, read_instances
from brainmri.http.predict import json_response
from brainmri.model.predictor import Prediction
from brainmri.observe.metrics import Metrics
from brainmri.settings import Settings
from brainmri.web.body import BodyLimits, read_body
from brainmri.web.call import call_of, cancel_on_disconnect
from brainmri.web.failures import all_or_error
from brainmri.web.schemas import (
    ExplanationBody,
    PredictionBody,
    V1Explanation,
    V1Model,
    V1Models,
    V1Prediction,
    V1Version,
    explanation_body,
    prediction_body,
)

_THREADS = 2
"""They read bodies; the interpreter lets one go on at a time anyway."""

_ALL = "/v1/models"
_ONE = _ALL + "/{name}"
_ONE_VERSION = _ONE + "/versions/{version}"


def v1_routes(engine: Engine, metrics: Metrics, settings: Settings) -> list[BaseRoute]:
    """Returns the routes of the protocol; its names are those of the bundles and their serving names."""
    threads, drawing = Threads("json", _THREADS), Threads("explain-json", 1)

    async def predict(request: Request) -> Response:
        call = called(request)
        predictions = await answered(request, call)
        return json_response(V1Prediction(predictions=_bodies(request, call, predictions)))

    async def explain(request: Request) -> Response:
        wanted = wanted_of(request)
        call = replace(called(request), explain=wanted)
        call.predictor.require_heat_maps(wanted.label)
        predictions = await answered(request, call)
        stop = Stop()
        work = drawing.run(_explanations, predictions, stop, stop=stop)
        explanations = await cancel_on_disconnect(request, call.deadline, work)
        bodies = _bodies(request, call, predictions)
        return json_response(V1Explanation(predictions=bodies, explanations=explanations))

    def called(request: Request) -> Call:
        return call_of(request, engine, settings, engine.models.get(**request.path_params))

    async def answered(request: Request, call: Call) -> list[Prediction]:
        limits = BodyLimits(settings.max_request_bytes, settings.upload_idle_timeout_s, call.deadline)
        body = await read_body(request, limits)
        work = _predict(engine, call, body, settings, threads)
        predictions = await cancel_on_disconnect(request, call.deadline, work)
        for prediction in predictions:
            metrics.observe_prediction(prediction, call.record)
        return predictions

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        contract = engine.models.get(name, request.path_params.get("version", "")).contract
        if not engine.server_ready:
            raise NotReady("The server is starting or draining. Ask another replica, or try again in a few seconds.")
        status = {"error_code": "OK", "error_message": ""}
        version = V1Version(version=contract.version, state="AVAILABLE", status=status)
        return json_response(V1Model(name=name, ready=True, model_version_status=[version]))

    async def models(_: Request) -> Response:
        names = dict.fromkeys(predictor.contract.serving_name for predictor in engine.models.all())
        return json_response(V1Models(models=list(names)))

    # A name takes every character but the slash, so the longer path comes first.
    return [
        Route(_ONE + ":predict", predict, methods=["POST"]),
        Route(_ONE_VERSION + ":predict", predict, methods=["POST"]),
        Route(_ONE + ":explain", explain, methods=["POST"]),
        Route(_ONE_VERSION + ":explain", explain, methods=["POST"]),
        Route(_ALL, models, methods=["GET"]),
        Route(_ONE, model, methods=["GET"]),
        Route(_ONE_VERSION, model, methods=["GET"]),
    ]


def _bodies(request: Request, call: Call, predictions: Sequence[Prediction]) -> list[PredictionBody]:
    request_id, notice = request.state.request_id, call.predictor.contract.notice
    return [prediction_body(prediction, request_id, notice) for prediction in predictions]


def _explanations(predictions: Sequence[Prediction], stop: Stop) -> list[ExplanationBody]:
    bodies = []
    for prediction in predictions:
        stop.check()
        bodies.append(explanation_body(prediction.explained))
    return bodies


async def _predict(engine: Engine, call: Call, body: bytes, settings: Settings, threads: Threads) -> list[Prediction]:
    """Answers for the encoded images, then for the tensors: the second may be refused when the first have been run."""
    side = call.predictor.contract.input.height
    limits = InstanceLimits(settings.max_request_images, settings.max_image_bytes, side)
    stop = Stop()
    instances = await threads.run(read_instances, body, limits, stop, stop=stop)
    images = [instance for instance in instances if isinstance(instance, bytes)]
    tensors = [instance for instance in instances if not isinstance(instance, bytes)]
    from_images = iter(await _answer(engine, call, images))
    from_tensors = iter(await _infer(engine, call, tensors))
    answers = [next(from_images if isinstance(instance, bytes) else from_tensors) for instance in instances]
    return all_or_error(answers, "Instance {}".format)


async def _answer(engine: Engine, call: Call, images: list[bytes]) -> Sequence[Prediction | BrainMRIError]:
    return await engine.predict_many(call, images) if images else []


async def _infer(engine: Engine, call: Call, tensors: list[NDArray[np.uint8]]) -> Sequence[Prediction]:
    return await engine.infer(call, np.stack(tensors)) if tensors else []
