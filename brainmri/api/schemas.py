"""The JSON that every interface of this project speaks."""

from pydantic import BaseModel, ConfigDict, Field

from brainmri.contract import NOTICE
from brainmri.errors import BrainMRIError
from brainmri.inference.predictor import Prediction


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ModelBody(_Body):
    """Which model answered."""

    name: str
    version: str
    runtime: str
    """Runtime and precision, such as `openvino-int8`."""


class TimingsBody(_Body):
    """Milliseconds of each stage."""

    decode: float
    """Bytes to tensor."""
    queue: float
    """Waiting for the network."""
    inference: float
    """The network."""
    total: float
    """All of it, without the transfer of the request."""


class PredictionBody(_Body):
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
    model: ModelBody
    request_id: str
    """Also in the header `X-Request-Id`, and in the server's log."""
    timings_ms: TimingsBody
    notice: str


class ErrorDetail(_Body):
    """What went wrong."""

    code: str
    """Stable and machine-readable, such as `image_too_large`."""
    message: str
    """For people: what was wrong and what to do."""
    limit: str | None = None
    """The limit that was broken, with its unit."""
    request_id: str


class ErrorBody(_Body):
    """The one shape of every error."""

    error: ErrorDetail


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
        model=ModelBody(name=model.name, version=model.version, runtime=model.runtime),
        request_id=request_id,
        timings_ms=TimingsBody(**{stage: round(value, 3) for stage, value in prediction.timings_ms.items()}),
        notice=notice,
    )


def error_body(error: BrainMRIError, request_id: str) -> ErrorBody:
    """Returns the JSON body of an expected error."""
    return ErrorBody(
        error=ErrorDetail(code=error.code, message=error.message, limit=error.limit, request_id=request_id)
    )


def plain_error_body(code: str, message: str, request_id: str) -> ErrorBody:
    """Returns the JSON body of an error that HTTP itself knows, such as an unknown path."""
    return ErrorBody(error=ErrorDetail(code=code, message=message, request_id=request_id))
