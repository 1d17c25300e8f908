"""POST /explain: one image, its prediction, and where the network looked, as JSON, a picture or DICOM objects."""

import secrets
from dataclasses import dataclass, replace
from typing import Self

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from brainmri.batching.call import Call
from brainmri.batching.engine import Engine
from brainmri.blocking import Threads
from brainmri.dicom.source import Source, read_source, require_writer
from brainmri.errors import MalformedRequest
from brainmri.http.predict import call_by_query, json_response
from brainmri.model.explanation import Explain
from brainmri.model.heat_picture import Style, overlay_png
from brainmri.model.predictor import Prediction, Predictor
from brainmri.observe.metrics import Metrics
from brainmri.settings import Settings
from brainmri.web.call import cancel_on_disconnect
from brainmri.web.schemas import ExplainedPredictionBody, explanation_body, prediction_body
from brainmri.web.upload import DICOM, read_image

_KINDS = ("report", "capture")

EXPLAINED_LABEL = "X-Explained-Label"
"""Header that names the class of an answer which is a picture."""

_PNG = "image/png"

_THREADS = 2
"""They draw and write answers; the interpreter lets one go on at a time for the most part."""


@dataclass(frozen=True)
class WantedObjects:
    """Which DICOM objects a request asks for.

    Attributes:
        kind: `report` or `capture`; all that there are if None.
    """

    kind: str | None

    @classmethod
    def of(cls, request: Request) -> Self | None:
        """Reads a request; None for one that asks for no DICOM.

        Raises:
            MalformedRequest: There is no such object.
            DicomUnavailable: The server cannot write DICOM.
        """
        accepted = request.headers.get("accept", "")
        if DICOM not in accepted or "application/json" in accepted:
            return None
        kind = request.query_params.get("object")
        if kind is not None and kind not in _KINDS:
            known = " or ".join(_KINDS)
            raise MalformedRequest(f"There is no object {kind[:40]!r}. Choose {known}, or none for both.", limit=known)
        require_writer()
        return cls(kind)

    def needs_heat_map(self, predictor: Predictor) -> bool:
        """Tells whether the answer has a heat map; a model without any gives the report alone."""
        return self.kind == "capture" or (self.kind is None and predictor.explains)

    def response(self, source: Source, prediction: Prediction, style: Style) -> Response:
        """Writes the objects; takes some milliseconds, so call it in a thread.

        Raises:
            ImageUnreadable: The source's patient or study cannot be copied.
        """
        # highdicom takes a second to import, and is an extra.
        from brainmri.dicom.results import results_of  # noqa: PLC0415

        files = results_of(source, prediction, style).files()
        if self.kind is not None:
            return Response(files[self.kind], media_type=DICOM)
        boundary = secrets.token_hex(16)
        head = f"--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode()
        body = b"".join(head + file + b"\r\n" for file in files.values()) + f"--{boundary}--\r\n".encode()
        return Response(body, media_type=f'multipart/related; type="{DICOM}"; boundary={boundary}')


def explain_routes(engine: Engine, metrics: Metrics, settings: Settings) -> list[BaseRoute]:
    """Returns the route."""
    threads = Threads("explain", _THREADS)

    async def explain(request: Request) -> Response:
        query = request.query_params
        wanted, style = wanted_of(request), Style.of(query.get("opacity"), query.get("palette"))
        objects, call = WantedObjects.of(request), call_by_query(request, engine, settings)
        if objects is None or objects.needs_heat_map(call.predictor):
            call = replace(call, explain=wanted)
            call.predictor.require_heat_maps(wanted.label)
        data = await read_image(request, settings, call.deadline)
        if objects is None:
            work = _explain(request, engine, call, data, style, threads)
        else:
            work = _in_dicom(objects, engine, call, data, style, threads)
        prediction, response = await cancel_on_disconnect(request, call.deadline, work)
        metrics.observe_prediction(prediction, call.record)
        response.headers["Vary"] = "Accept"
        return response

    return [Route("/explain", explain, methods=["POST"])]


def wanted_of(request: Request) -> Explain:
    """Returns which class a request asks about."""
    return Explain(request.query_params.get("label"))


async def _explain(
    request: Request, engine: Engine, call: Call, data: bytes, style: Style, threads: Threads
) -> tuple[Prediction, Response]:
    prediction = await engine.predict(call, data)
    if _asks_for_a_picture(request):
        return prediction, await threads.run(_picture, prediction, style)
    request_id, notice = request.state.request_id, call.predictor.contract.notice
    return prediction, await threads.run(_json, prediction, request_id, notice)


async def _in_dicom(
    objects: WantedObjects, engine: Engine, call: Call, data: bytes, style: Style, threads: Threads
) -> tuple[Prediction, Response]:
    source = await threads.run(read_source, data, call.predictor.limits, call.options)
    prediction = await engine.predict(call, data)
    return prediction, await threads.run(objects.response, source, prediction, style)


def _picture(prediction: Prediction, style: Style) -> Response:
    explanation = prediction.explained
    png = overlay_png(explanation.pixels, explanation.heat_map, style)
    return Response(png, media_type=_PNG, headers={EXPLAINED_LABEL: explanation.heat_map.label})


def _json(prediction: Prediction, request_id: str, notice: str) -> Response:
    parts = prediction_body(prediction, request_id, notice), explanation_body(prediction.explained)
    return json_response(ExplainedPredictionBody(**{name: value for part in parts for name, value in part}))


def _asks_for_a_picture(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return _PNG in accepted and "application/json" not in accepted
