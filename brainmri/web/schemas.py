"""The JSON that every interface of this project speaks."""

import base64
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from brainmri.errors import BrainMRIError
from brainmri.imaging.picture import Rule, SourceImage
from brainmri.model.contract import NOTICE, Contract
from brainmri.model.explanation import Explanation
from brainmri.model.figures import Figures
from brainmri.model.heat_picture import grey_map
from brainmri.model.predictor import Prediction, Predictor

PROTOCOL_PREFIXES = ("/v1/models", "/v2")
"""Paths of KServe's protocol V1 and of the Open Inference Protocol; their errors have the shape `{"error": "..."}`."""


class Body(BaseModel):
    """What every body of JSON is."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ModelBody(Body):
    """Which model answered."""

    name: str
    """Of the bundle, and of its entry in the model store."""
    version: str
    """Of the bundle."""
    runtime: str
    """Runtime and precision, such as `openvino-int8`."""


class TimingsBody(Body):
    """Milliseconds of each stage."""

    decode: float
    """Bytes to tensor."""
    queue: float
    """Waiting for the network."""
    inference: float
    """The network."""
    total: float
    """All of it, without the transfer of the request."""


class ScalingBody(Body):
    """Which stored values became black and white."""

    rule: Rule
    """`as_stored` (8 bits), `declared` by the file, `bit_length`, `unit` or `value_range` by the values, or the
    `window` or `lookup_table` of a DICOM object; docs/images.md."""
    low: float
    """The value that became 0, in the file's own units."""
    high: float
    """The value that became 255; below `low` where the largest value is black."""


class ImageBody(Body):
    """What the file held, and how it was read."""

    format: str
    """Such as `PNG` or `DICOM`."""
    mode: str
    """Pillow's name of the stored pixels, such as `I;16`; for DICOM the photometric interpretation."""
    bits: int
    """Significant bits of one sample."""
    frames: int | None
    """Frames or pages; null where they cannot be counted."""
    frame: int
    """The one that was taken, from 0."""
    scaling: ScalingBody


class PredictionBody(Body):
    """One prediction."""

    label: str | None
    """The most probable class; null when the service abstains."""
    confidence: float = Field(ge=0, le=1)
    """The largest calibrated probability."""
    probabilities: dict[str, float]
    """Calibrated probability of every class; they sum to 1."""
    verdict: str
    """What to tell a person: the label, `not_a_brain_mri`, or `unsure`."""
    in_distribution: bool | None
    """Whether the image looks like the slices of the training set; null when the model has no detector."""
    novelty: float | None
    """Distance from the training slices; the contract says from which value on an image is novel."""
    image: ImageBody | None
    """What the file held, and how it was read; null for an image that came as a tensor."""
    model: ModelBody
    request_id: str
    """Also in the header `X-Request-Id`, and in the server's log."""
    timings_ms: TimingsBody
    notice: str
    """What the answer is for: research only."""


class HeatMapBody(Body):
    """Where the evidence for a class lies, over the network's square input."""

    png: str
    """An 8-bit grey PNG in base64; a grey level of 255 stands for `max`, 0 for `min`."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    min: float
    """Evidence of the black pixels, in units of the logit."""
    max: float
    """Evidence of the white pixels; 0 where nothing speaks for the class, and then all pixels are black."""


class ExplanationBody(Body):
    """A heat map and the class that it explains."""

    explained_label: str
    """The class that was asked for, or else the most probable one, also when the service abstains."""
    heatmap: HeatMapBody


class ExplainedPredictionBody(PredictionBody, ExplanationBody):
    """One prediction with its explanation."""


class ErrorDetail(Body):
    """What went wrong."""

    code: str
    """Stable and machine-readable, such as `image_too_large`."""
    message: str
    """For people: what was wrong and what to do."""
    limit: str | None = None
    """The limit that was broken, with its unit."""
    request_id: str
    """Also in the header `X-Request-Id`, and in the server's log."""


class ErrorBody(Body):
    """The one shape of every error."""

    error: ErrorDetail


class BatchBody(Body):
    """Answers for several images."""

    results: list[PredictionBody | ErrorBody]
    """One for each file, in order: what `/predict` would have answered for it, a prediction or an error."""
    count: int = Field(ge=1)
    """How many files there were."""
    errors: int = Field(ge=0)
    """How many of the results are errors."""
    request_id: str
    """Also in the header `X-Request-Id`, and in the server's log."""


class ServedModelBody(ModelBody):
    """One of the models that can be asked."""

    serving_name: str
    """Its name in the Open Inference Protocol and in KServe's V1."""
    default: bool
    """Whether it answers requests that name no model."""


class ModelsBody(Body):
    """Every model that is served, the default first."""

    models: list[ServedModelBody]


class ModelDescription(Contract):
    """Everything that one model promises, and what else is served."""

    card: str
    """The model card, Markdown."""
    figures: Figures | None
    """What its evaluation found; null for a release whose evaluation had other figures."""
    runtime: str
    """Runtime and precision that this server chose, such as `openvino-int8`."""
    served: list[ServedModelBody]
    """Every model that is served, the default first."""


class V1Prediction(Body):
    """Answer of KServe's protocol V1."""

    predictions: list[PredictionBody] = Field(min_length=1)
    """One for each instance, in order."""


class V1Explanation(V1Prediction):
    """Answer of KServe's protocol V1 to `:explain`."""

    explanations: list[ExplanationBody] = Field(min_length=1)
    """One for each instance, in order."""


class V1Version(Body):
    """State of one version, as TensorFlow Serving tells it."""

    version: str
    state: Literal["AVAILABLE"]
    status: dict[str, str]


class V1Model(Body):
    """State of one model, in the words of both KServe and TensorFlow Serving."""

    name: str
    ready: bool
    model_version_status: list[V1Version]


class V1Models(Body):
    """The models that can be asked by KServe's protocol V1."""

    models: list[str]


class ProtocolError(Body):
    """Every error of KServe's protocol V1 and of the Open Inference Protocol."""

    error: str
    """What was wrong and what to do."""


def prediction_body(prediction: Prediction, request_id: str, notice: str = NOTICE) -> PredictionBody:
    """Returns the JSON body of a prediction; times are rounded to microseconds."""
    model = prediction.model
    return PredictionBody(
        label=prediction.label,
        confidence=prediction.confidence,
        probabilities=dict(prediction.probabilities),
        verdict=prediction.verdict,
        in_distribution=prediction.in_distribution,
        novelty=prediction.novelty,
        image=image_body(prediction.image),
        model=ModelBody(name=model.name, version=model.version, runtime=model.runtime),
        request_id=request_id,
        timings_ms=TimingsBody(**{stage: round(value, 3) for stage, value in prediction.timings_ms.items()}),
        notice=notice,
    )


def explanation_body(explanation: Explanation) -> ExplanationBody:
    """Returns the JSON body of an explanation; takes some milliseconds, so call it in a thread."""
    grey = grey_map(explanation.heat_map)
    heat_map = HeatMapBody(
        png=base64.b64encode(grey.png).decode(), width=grey.side, height=grey.side, min=0.0, max=grey.maximum
    )
    return ExplanationBody(explained_label=explanation.heat_map.label, heatmap=heat_map)


def image_body(source: SourceImage | None) -> ImageBody | None:
    """Returns the JSON body of what a file held; None for a tensor."""
    if source is None:
        return None
    scaling = source.scaling
    return ImageBody(
        format=source.format,
        mode=source.mode,
        bits=source.bits,
        frames=source.frames,
        frame=source.frame,
        scaling=ScalingBody(rule=scaling.rule, low=scaling.low, high=scaling.high),
    )


def batch_body(answers: Sequence[Prediction | BrainMRIError], request_id: str, notice: str = NOTICE) -> BatchBody:
    """Returns the JSON body for several images, at least one."""
    results = [
        error_body(answer, request_id)
        if isinstance(answer, BrainMRIError)
        else prediction_body(answer, request_id, notice)
        for answer in answers
    ]
    errors = sum(isinstance(result, ErrorBody) for result in results)
    return BatchBody(results=results, count=len(results), errors=errors, request_id=request_id)


def served_bodies(served: Sequence[Predictor]) -> list[ServedModelBody]:
    """Returns what identifies each served model; the first is the default."""
    return [
        ServedModelBody(
            name=predictor.model.name,
            version=predictor.model.version,
            runtime=predictor.model.runtime,
            serving_name=predictor.contract.serving_name,
            default=number == 0,
        )
        for number, predictor in enumerate(served)
    ]


def error_body(error: BrainMRIError, request_id: str) -> ErrorBody:
    """Returns the JSON body of an expected error."""
    return ErrorBody(
        error=ErrorDetail(code=error.code, message=error.message, limit=error.limit, request_id=request_id)
    )


def plain_error_body(code: str, message: str, request_id: str) -> ErrorBody:
    """Returns the JSON body of an error that HTTP itself knows, such as an unknown path."""
    return ErrorBody(error=ErrorDetail(code=code, message=message, request_id=request_id))


def error_content(path: str, body: ErrorBody) -> dict[str, object]:
    """Returns the JSON of an error in the shape of the path's protocol."""
    shaped = ProtocolError(error=body.error.message) if path.startswith(PROTOCOL_PREFIXES) else body
    return shaped.model_dump()
