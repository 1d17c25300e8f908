"""POST /feedback: a person says what the right answer for an image would have been."""

from datetime import UTC, datetime
from typing import Self

from pydantic import Field, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from brainmri.batching.call import Deadline
from brainmri.batching.engine import Engine
from brainmri.blocking import Threads
from brainmri.errors import FeedbackDisabled, MalformedRequest
from brainmri.model.contract import NOT_USABLE
from brainmri.observe.journal import Journal
from brainmri.settings import Settings
from brainmri.web.body import BodyLimits, read_body
from brainmri.web.schemas import Body
from brainmri.web.spool import told_disk_errors

_MOST_BYTES = 1024
_WHAT_TO_SEND = (
    'Send {"image_sha256": "64 hexadecimal digits", "label": "..."} with the SHA-256 of the image file, or "request_id"'
    " in its place."
)


class FeedbackRequest(Body):
    """What a person says of one image, which is named by its hash or by the request that it was sent with."""

    image_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """SHA-256 of the bytes of the image file."""
    request_id: str | None = Field(default=None, pattern="^[A-Za-z0-9._-]{1,64}$")
    """As in the answer; whoever collects the feedback has to know the image of that request."""
    label: str
    """The right label, one of the model's, or `not_usable`."""

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if (self.image_sha256 is None) == (self.request_id is None):
            raise ValueError("give either image_sha256 or request_id")
        return self


def feedback_routes(engine: Engine, settings: Settings) -> list[BaseRoute]:
    """Returns the route; without a store it says so."""
    folder = settings.feedback_dir
    journal = None if folder is None else Journal(folder, settings.max_feedback_bytes, "refuse")
    threads = Threads("feedback", 1)

    async def feedback(request: Request) -> Response:
        if journal is None:
            raise FeedbackDisabled(
                "This server takes no feedback. Ask whoever runs it to set BRAINMRI_FEEDBACK_DIR and"
                " BRAINMRI_API_KEYS_FILE."
            )
        query = request.query_params
        contract = engine.models.get(query.get("model", ""), query.get("version", "")).contract
        given = await _read(request, settings)
        _require_label(given.label, contract.labels)
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "image_sha256": given.image_sha256,
            "request_id": given.request_id,
            "label": given.label,
            "model": contract.tag,
        }
        with told_disk_errors():
            await threads.run(journal.append, entry)
        return Response(status_code=204)

    return [Route("/feedback", feedback, methods=["POST"])]


def _require_label(label: str, labels: tuple[str, ...]) -> None:
    if label not in (*labels, NOT_USABLE):
        raise MalformedRequest(
            f"{label[:80]!r} is not a label of this model. Send one of {', '.join((*labels, NOT_USABLE))}.",
        )


async def _read(request: Request, settings: Settings) -> FeedbackRequest:
    limits = BodyLimits(_MOST_BYTES, settings.upload_idle_timeout_s, Deadline.after(settings.request_timeout_s))
    try:
        return FeedbackRequest.model_validate_json(await read_body(request, limits))
    except ValidationError as error:
        raise MalformedRequest(f"The body is not feedback. {_WHAT_TO_SEND}") from error
