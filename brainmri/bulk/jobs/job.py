"""One scoring job: what was asked, how far it is, and where its files lie."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from brainmri.bulk.jobs.record import JobSpec, JobStatus
from brainmri.bulk.run_folder import RunFolder


@dataclass(frozen=True)
class ScoringJob:
    """One job as it was when it was read.

    Attributes:
        folder: Its files.
        spec: What was asked.
        status: How far it was.
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

    def expires(self, ttl_s: float) -> datetime | None:
        """Returns when it will be deleted, `ttl_s` seconds after its end; None while it has not ended."""
        ended = self.status.ended
        return None if ended is None else ended + timedelta(seconds=ttl_s)
