"""One job on disk: what it is, how far it is, and where its parts lie."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from brainmri.bulk import durable
from brainmri.bulk.jobs.record import JobSpec, JobStatus
from brainmri.bulk.run_folder import RunFolder

SPEC, STATUS = "job.json", "status.json"


@dataclass(frozen=True)
class Job:
    """One job as it is on disk.

    Attributes:
        folder: Its folder.
        spec: What was asked.
        status: How far it was when it was read.
    """

    folder: Path
    spec: JobSpec
    status: JobStatus

    @property
    def upload(self) -> Path:
        """The archive; only of a job that was uploaded."""
        return self.folder / "upload"

    @property
    def run(self) -> RunFolder:
        """Its rows."""
        return RunFolder(self.folder / "run")

    @property
    def shown(self) -> str:
        """What of its id may be in a log: whoever knows the whole id may read the results where no keys are asked."""
        return self.spec.id[:8]

    @property
    def exists(self) -> bool:
        """Whether nobody has deleted it since."""
        return (self.folder / SPEC).is_file()

    def expires(self, ttl_s: float) -> datetime | None:
        """Returns when it will be deleted, `ttl_s` seconds after its end; None while it has not ended."""
        ended = self.status.ended
        return None if ended is None else ended + timedelta(seconds=ttl_s)

    def store(self, status: JobStatus) -> "Job":
        """Writes how far it is.

        Raises:
            FileNotFoundError: It has been deleted.
        """
        write(self.folder / STATUS, status)
        return Job(self.folder, self.spec, status)


def write(path: Path, record: JobSpec | JobStatus) -> None:
    """Writes a record durably, as a whole."""
    content = record.model_dump_json(indent=1).encode() + b"\n"
    durable.write(path, lambda file: file.write(content))
