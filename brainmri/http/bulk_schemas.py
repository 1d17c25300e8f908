"""The JSON of bulk scoring that is not a row of results: the summary at its end, and jobs."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Literal

from pydantic import Field

from brainmri.bulk.series import SeriesVerdict
from brainmri.bulk.totals import Totals
from brainmri.errors import BrainMRIError
from brainmri.model.predictor import ModelIdentity
from brainmri.web.schemas import Body, ModelBody

NDJSON = "application/x-ndjson"
"""One JSON document a line."""
PARQUET = "application/vnd.apache.parquet"
"""Registered with IANA in 2024."""


class BulkErrorBody(Body):
    """Why not every image has a row."""

    code: str
    """Stable and machine-readable, such as `not_ready`."""
    message: str
    """For people: what was wrong and what to do."""


class SeriesBody(Body):
    """What the slices of a series say together; `docs/dicom.md` has the rule."""

    series: str
    """As in its rows."""
    verdict: str
    """A class, or `unsure`."""
    slices: int = Field(ge=0)
    """How many rows of this answer are of it."""
    answered: int = Field(ge=0)
    """How many of those are answered with a class."""
    votes: dict[str, int]
    """Class to number of rows."""


class ScoreSummary(Body):
    """What became of one request as a whole."""

    images: int = Field(ge=0)
    """How many images the request asks for: those of the archive, without the ones before `resume`."""
    rows: int = Field(ge=0)
    """How many of them have a row above; all of them when `complete`."""
    failed: int = Field(ge=0)
    """How many of the rows have an error in place of an answer."""
    labels: dict[str, int]
    """Label to number of rows; `none` when the service abstains."""
    verdicts: dict[str, int]
    """Verdict to number of rows."""
    errors: dict[str, int]
    """Error code to number of rows."""
    left_out: int = Field(ge=0)
    """Files of the archive that are not scored."""
    left_out_reasons: dict[str, int]
    """Why not to number of files, such as `other_kind`: the name ends like that of another kind of file."""
    series: list[SeriesBody]
    """The series of which several rows are above; DICOM alone tells of which series a slice is."""
    complete: bool
    """Whether every image has a row."""
    error: BulkErrorBody | None
    """Why not, if not."""
    resume: str | None
    """Send the same archive again with this as the parameter `resume` to get the rows that are missing; null if
    complete."""
    model: ModelBody
    seconds: float = Field(ge=0)
    """From the end of the upload to the last row."""
    request_id: str
    notice: str


class ScoreSummaryLine(Body):
    """The last line of the answer of `/score`; no row has the field `summary`."""

    summary: ScoreSummary


def summary_line(  # noqa: PLR0913 -- the fields of the line
    totals: Totals,
    *,
    images: int,
    left_out: Mapping[str, int],
    series: Mapping[str, SeriesVerdict],
    error: BrainMRIError | None,
    resume: str | None,
    model: ModelIdentity,
    seconds: float,
    request_id: str,
    notice: str,
) -> bytes:
    """Returns the last line of the answer to `/score`."""
    summary = ScoreSummary(
        images=images,
        rows=totals.images,
        failed=totals.failed,
        labels=dict(sorted(totals.labels.items())),
        verdicts=dict(sorted(totals.verdicts.items())),
        errors=dict(sorted(totals.failures.items())),
        left_out=sum(left_out.values()),
        left_out_reasons=dict(left_out),
        series=[SeriesBody(series=name, **asdict(found)) for name, found in series.items()],
        complete=totals.images == images,
        error=None if error is None else BulkErrorBody(code=error.code, message=error.message),
        resume=resume,
        model=ModelBody(name=model.name, version=model.version, runtime=model.runtime),
        seconds=round(seconds, 3),
        request_id=request_id,
        notice=notice,
    )
    return ScoreSummaryLine(summary=summary).model_dump_json().encode() + b"\n"


class JobSourceBody(Body):
    """Where the images of a job come from."""

    kind: Literal["upload", "path"]
    path: str | None
    """Below the server's input folder; null for an upload."""


class JobBody(Body):
    """A job, as far as it is now."""

    id: str = Field(pattern="^[0-9a-f]{32}$")
    """Whoever has it, and the API key that made it if the server asks for keys, may read and delete the job."""
    state: Literal["queued", "running", "succeeded", "failed"]
    source: JobSourceBody
    model: str
    """`name:version`."""
    created: str
    """In UTC, ISO 8601, as the other times."""
    started: str | None
    """When its turn came."""
    ended: str | None
    expires: str | None
    """When it is deleted with its results; null while it has not ended."""
    images: int | None = Field(ge=0)
    """How many there are; null until they have been listed."""
    done: int = Field(ge=0)
    """Images with a stored row; they are stored in groups."""
    failed: int = Field(ge=0)
    """How many of those have an error in place of an answer."""
    progress: float = Field(ge=0, le=1)
    """Share of the images that are done."""
    error: BulkErrorBody | None
    """Why it failed."""
    notice: str


class JobsBody(Body):
    """The jobs of one caller, the oldest first."""

    jobs: list[JobBody]


class PathRequest(Body):
    """A job whose images the server can already read."""

    path: str
    """A folder, an image or an archive below the server's input folder, relative to it."""
