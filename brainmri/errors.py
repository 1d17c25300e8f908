"""Every error this project raises on purpose, and the one table that maps it to a status.

    BrainMRIError
    |-- InvalidInput                 the caller's fault
    |   |-- EmptyImage
    |   |-- ImageTooLarge            bytes or pixels beyond the limit
    |   |-- ImageUnreadable          not an image, truncated, unsupported
    |   |-- ExtremeAspect            far from a slice's shape
    |   |-- NotBrainMR               a DICOM object that says it is of another modality or part of the body
    |   |-- NoStudy                  DICOM results are asked for an image that belongs to no study
    |   |-- RequestTooLarge          the body or its number of images beyond the limit
    |   |-- UnsupportedEncoding      a compressed body where none is taken
    |   |-- UploadStalled            the next piece of the upload did not come in time
    |   |-- ArchiveRefused           not a readable zip or tar, or one that holds what none may hold
    |   |   `-- ArchiveTooLarge      too many members, or too much once unpacked
    |   |-- SourceUnreadable         a file, object or URL of bulk scoring that cannot be read
    |   `-- MalformedRequest         missing field, several files, wrong content type
    |-- Unauthenticated              an API key is required and none that is known was sent
    |-- Overloaded                   the queue is full, or the predicted wait exceeds the deadline
    |   `-- TooManyJobs              as many bulk requests or jobs as may be
    |-- StorageUnavailable           the server's disk cannot be read or written
    |   `-- StorageFull              no room on disk for an upload or for results
    |-- JobNotFound                  no such job, or another caller's
    |-- JobUnfinished                asked for results before there are all
    |-- JobsDisabled                 this server keeps no jobs
    |-- FeedbackDisabled             this server takes no feedback
    |-- HeatMapUnavailable           this model carries nothing that heat maps are made of
    |-- DicomUnavailable             DICOM results are asked for, and what writes them is not installed
    |-- InferenceFailed              the network failed on this request's images
    |-- NotReady                     starting, draining, no model loaded
    |-- DeadlineExceeded             not answered in time: a slow upload, or too much before it
    |-- ModelNotFound                no such tag in the store, or no such model is being served
    |-- InvalidBundle                wrong hash, missing file, contradictory contract
    |-- RuntimeUnavailable           the chosen runtime's package or artefact is missing
    |-- InvalidSettings              a BRAINMRI_* variable with a bad value
    |-- DatasetError                 a dataset folder, manifest or recipe that cannot be used
    |-- ImageCrashed                 scoring this image ends the process that does it
    |-- ScoringRefused               a bulk run that cannot begin or go on as it was asked for
    `-- ScoringHopeless              a bulk run that trying again does not help

A message says what was wrong, what the limit is and what to do about it. `STATUS` is the only place
where an error becomes an HTTP status or a gRPC code.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from brainmri.text import printable


class BrainMRIError(Exception):
    """Base of every expected error.

    Args:
        message: One or two sentences for the caller: what was wrong and what to do.
        limit: The limit that was broken, with its unit, when there is one.

    Attributes:
        retry_after_s: When trying the same request again has a chance, in seconds, greater than 0; None if it has none.
        counted: Whether whoever raised it has counted it among the refusals, with a reason more exact than its code.
    """

    code: ClassVar[str] = "internal"
    retry_after_s: float | None = None
    counted = False

    def __init__(self, message: str, *, limit: str | None = None) -> None:
        # A message may quote a caller.
        self.message = printable(message)
        super().__init__(self.message)
        self.limit = limit


class InvalidInput(BrainMRIError):
    """The request cannot be answered as it was sent."""

    code = "invalid_input"


class EmptyImage(InvalidInput):
    """The upload holds no bytes."""

    code = "image_empty"


class ImageTooLarge(InvalidInput):
    """The image exceeds the limit on bytes or on pixels."""

    code = "image_too_large"


class ImageUnreadable(InvalidInput):
    """The bytes are not an image that can be decoded completely."""

    code = "image_unreadable"


class ExtremeAspect(InvalidInput):
    """The image is too small, or too long and thin, to be a slice."""

    code = "image_extreme_aspect"


class NotBrainMR(InvalidInput):
    """The DICOM object says that it is not an MRI of a head."""

    code = "not_brain_mr"


class NoStudy(InvalidInput):
    """DICOM results are asked for an image that names no study, series and instance, such as a picture."""

    code = "no_dicom_study"


class RequestTooLarge(InvalidInput):
    """The request as a whole exceeds the limit on bytes or on images."""

    code = "request_too_large"


class UnsupportedEncoding(InvalidInput):
    """The body is compressed, and this endpoint reads it as it is."""

    code = "unsupported_encoding"


class UploadStalled(InvalidInput):
    """The pause between two pieces of an upload was too long."""

    code = "upload_stalled"


class ArchiveRefused(InvalidInput):
    """The archive cannot be read, or holds something that no archive of images needs: a link, a path outside of it."""

    code = "archive_refused"


class ArchiveTooLarge(ArchiveRefused):
    """The archive has too many members, or would be too large once unpacked."""

    code = "archive_too_large"


class MalformedRequest(InvalidInput):
    """The request does not carry what the endpoint asks for."""

    code = "malformed_request"


class SourceUnreadable(InvalidInput):
    """What bulk scoring was to read does not exist, may not be read, or failed on every try."""

    code = "source_unreadable"


class Unauthenticated(BrainMRIError):
    """The service asks for an API key; the request carries none, or one that it does not know."""

    code = "unauthenticated"


class Overloaded(BrainMRIError):
    """More work is waiting than can be done in time; nothing was run for this request.

    Args:
        message: What the caller reads.
        retry_after_s: When trying again has a chance, in seconds, greater than 0.
        limit: The limit that was broken.
    """

    code = "overloaded"
    retry_after_s = 1.0

    def __init__(self, message: str, *, retry_after_s: float, limit: str | None = None) -> None:
        super().__init__(message, limit=limit)
        self.retry_after_s = retry_after_s

    @classmethod
    def by_requests(cls, most: int) -> "Overloaded":
        """Returns the error for one request more than the `most` that may be under way."""
        return cls(
            f"{most} requests are under way, the most that are accepted. Try again in a second.",
            retry_after_s=1.0,
            limit=f"{most} requests",
        )


class TooManyJobs(Overloaded):
    """As many bulk requests are under way, or as many jobs are kept, as the server takes."""

    code = "too_many_jobs"


class StorageUnavailable(BrainMRIError):
    """The server's folder for uploads or jobs is gone, read-only or failing; that of another replica may work."""

    code = "storage_unavailable"


class StorageFull(StorageUnavailable):
    """The server's disk has no room for the upload or for the results."""

    code = "storage_full"


class JobNotFound(BrainMRIError):
    """There is no such job, it has expired, or another API key made it."""

    code = "job_not_found"


class JobUnfinished(BrainMRIError):
    """The job has no complete results: it waits, runs, or failed."""

    code = "job_unfinished"


class JobsDisabled(BrainMRIError):
    """The server has no directory for jobs."""

    code = "jobs_disabled"


class FeedbackDisabled(BrainMRIError):
    """The server has no directory for feedback."""

    code = "feedback_disabled"


class HeatMapUnavailable(BrainMRIError):
    """A heat map is asked for, and the model carries none."""

    code = "heat_map_unavailable"


class DicomUnavailable(BrainMRIError):
    """DICOM results are asked for, and the extra `dicom` is not installed."""

    code = "dicom_unavailable"


class InferenceFailed(BrainMRIError):
    """The network raised on the images of this request alone; requests of the same batch were answered."""

    code = "inference_failed"


class NotReady(BrainMRIError):
    """The service is starting or draining; another replica, or a retry, can answer."""

    code = "not_ready"
    retry_after_s = 5.0


class DeadlineExceeded(BrainMRIError):
    """The request was not answered within the time that one may take."""

    code = "deadline_exceeded"


class ModelNotFound(BrainMRIError):
    """No model of that name and version is in the store, or served."""

    code = "model_not_found"


class InvalidBundle(BrainMRIError):
    """A model bundle is incomplete, altered, or contradicts its contract."""

    code = "invalid_bundle"


class RuntimeUnavailable(BrainMRIError):
    """The chosen inference runtime is not installed, or the bundle carries nothing for it."""

    code = "runtime_unavailable"


class InvalidSettings(BrainMRIError):
    """A deployment setting has a value that cannot be used."""

    code = "invalid_settings"


class DatasetError(BrainMRIError):
    """A dataset folder, manifest, split or recipe cannot be used."""

    code = "dataset_error"


class ImageCrashed(BrainMRIError):
    """The process that scored this image, alone, died or hung."""

    code = "image_crashed"


class ScoringRefused(BrainMRIError):
    """A bulk run has no input, or its folder holds another run."""

    code = "scoring_refused"


class ScoringHopeless(BrainMRIError):
    """Too many images fail, or the process that scores them dies without one of them being the cause."""

    code = "scoring_hopeless"


@dataclass(frozen=True)
class Status:
    """How one error leaves the process."""

    http: int
    grpc: str


STATUS: dict[type[BrainMRIError], Status] = {
    EmptyImage: Status(400, "INVALID_ARGUMENT"),
    ImageTooLarge: Status(413, "RESOURCE_EXHAUSTED"),
    ImageUnreadable: Status(400, "INVALID_ARGUMENT"),
    ExtremeAspect: Status(400, "INVALID_ARGUMENT"),
    NotBrainMR: Status(422, "INVALID_ARGUMENT"),
    NoStudy: Status(422, "INVALID_ARGUMENT"),
    RequestTooLarge: Status(413, "RESOURCE_EXHAUSTED"),
    UnsupportedEncoding: Status(415, "INVALID_ARGUMENT"),
    UploadStalled: Status(408, "DEADLINE_EXCEEDED"),
    ArchiveTooLarge: Status(413, "RESOURCE_EXHAUSTED"),
    ArchiveRefused: Status(400, "INVALID_ARGUMENT"),
    MalformedRequest: Status(400, "INVALID_ARGUMENT"),
    InvalidInput: Status(400, "INVALID_ARGUMENT"),
    Unauthenticated: Status(401, "UNAUTHENTICATED"),
    Overloaded: Status(429, "RESOURCE_EXHAUSTED"),
    TooManyJobs: Status(429, "RESOURCE_EXHAUSTED"),
    StorageUnavailable: Status(503, "UNAVAILABLE"),
    StorageFull: Status(507, "RESOURCE_EXHAUSTED"),
    JobNotFound: Status(404, "NOT_FOUND"),
    JobUnfinished: Status(409, "FAILED_PRECONDITION"),
    JobsDisabled: Status(501, "UNIMPLEMENTED"),
    FeedbackDisabled: Status(501, "UNIMPLEMENTED"),
    HeatMapUnavailable: Status(501, "UNIMPLEMENTED"),
    DicomUnavailable: Status(501, "UNIMPLEMENTED"),
    InferenceFailed: Status(500, "INTERNAL"),
    NotReady: Status(503, "UNAVAILABLE"),
    DeadlineExceeded: Status(504, "DEADLINE_EXCEEDED"),
    ModelNotFound: Status(404, "NOT_FOUND"),
    BrainMRIError: Status(500, "INTERNAL"),
}


def retry_after(error: BrainMRIError | type[BrainMRIError]) -> int | None:
    """Returns `retry_after_s` in whole seconds, at least 1, as `Retry-After` has it (RFC 9110, section 10.2.3)."""
    return None if error.retry_after_s is None else max(1, math.ceil(error.retry_after_s))


def status_of(error: BrainMRIError) -> Status:
    """Returns the status of the nearest class of `error` that the table names."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)
