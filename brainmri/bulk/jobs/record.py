"""What is known of a job: what was asked, which never changes, and how far it is."""

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

State = Literal["queued", "running", "succeeded", "failed"]
ENDED: tuple[State, ...] = ("succeeded", "failed")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Record):
    """Where the images of a job come from.

    Attributes:
        path: Below the input root; None for an upload.
        is_form: Whether the upload was a form: then every file of it is meant to be an image.
    """

    path: str | None = None
    is_form: bool = False


class JobSpec(_Record):
    """What was asked.

    Attributes:
        id: 128 random bits, hexadecimal.
        owner: Name of the API key that made it; None where no keys are asked for.
        created: When, in UTC.
        source: Where the images come from.
        model_name: Which model answers.
        model_version: Its version.
        force: Answers also for DICOM objects that say they are not MRI of a head.
    """

    id: str
    owner: str | None
    created: datetime
    source: Source
    model_name: str
    model_version: str
    force: bool = False


class JobError(_Record):
    """Why a job failed."""

    code: str
    message: str


class JobStatus(_Record):
    """How far a job is; replaced as a whole.

    Attributes:
        state: `queued` until it is its turn, again after a restart of the server: `running`.
        images: How many there are; None until they have been listed.
        done: Images with a stored row.
        failed: How many of those have an error in place of an answer.
        started: When its turn came first, in UTC.
        ended: When it succeeded or failed, in UTC.
        error: Why it failed.
        starts: How often it was begun since it last got further, for jobs that end the server.
    """

    state: State = "queued"
    images: int | None = None
    done: int = 0
    failed: int = 0
    started: datetime | None = None
    ended: datetime | None = None
    error: JobError | None = None
    starts: int = 0


def now() -> datetime:
    """Returns the present in UTC."""
    return datetime.now(UTC)
