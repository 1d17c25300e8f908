"""What keeps jobs: the interface that requests and the runner use, whatever stands behind it.

`brainmri.bulk.jobs.sqlite_store` keeps jobs on one host, `brainmri.bulk.jobs.postgres_store` on several: there `claim`
grants a lease that ends unless `Claim.holds` renews it, and `Claim.save` and `Claim.storing` refuse whoever has lost
the lease, so of two runners that both take a job for their own only one writes.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from brainmri.bulk.jobs.job import ScoringJob
from brainmri.bulk.jobs.record import JobSpec, JobStatus


@dataclass(frozen=True)
class JobLimits:
    """How much is kept.

    Attributes:
        max_jobs: Most jobs.
        max_per_owner: Most jobs of one API key.
        max_bytes: Most bytes of all of them.
        ttl_s: How long a job is kept after it ended, in seconds.
        upload_s: How long an upload may take, in seconds; what is older was left behind.
    """

    max_jobs: int
    max_per_owner: int
    max_bytes: int
    ttl_s: float
    upload_s: float


class Claim(Protocol):
    """The right to run one job; of all runners one has it."""

    @property
    def job(self) -> ScoringJob:
        """The job, with the status that was saved last."""
        ...

    def holds(self) -> bool:
        """Renews the claim; False once the job was deleted, or the claim was lost. Call it every second or so."""
        ...

    def storing(self, shard: int) -> AbstractContextManager[None]:
        """Keeps the claim while the rows of a shard are being stored.

        Raises:
            Stopped: The claim does not hold any more.
        """
        ...

    def save(self, status: JobStatus) -> None:
        """Stores how far the job is.

        Raises:
            Stopped: The claim does not hold any more.
        """
        ...

    def release(self) -> None:
        """Gives the claim back, and removes the files of a job that was deleted meanwhile."""
        ...


class JobStore(Protocol):
    """Keeps jobs. Its methods wait for a disk or a network: call them in a thread."""

    @property
    def limits(self) -> JobLimits:
        """How much is kept."""
        ...

    def prepare(self) -> None:
        """Creates what is needed, and takes over the jobs of earlier releases; before any other process uses it.

        Raises:
            InvalidSettings: That is not possible.
        """
        ...

    def incoming(self) -> AbstractContextManager[Path]:
        """Makes the folder of a job that is being uploaded; it is gone after the context unless it was published."""
        ...

    def require_room(self, owner: str | None) -> None:
        """Refuses another job of a caller, before its upload.

        Raises:
            TooManyJobs: The caller, or the server, has as many as allowed.
            StorageFull: All jobs take as much room as allowed.
        """
        ...

    def publish(self, folder: Path, spec: JobSpec) -> ScoringJob:
        """Makes a job of an incoming folder, and wakes the runner.

        Raises:
            TooManyJobs, StorageFull: See `require_room`.
        """
        ...

    def get(self, identity: str, owner: str | None) -> ScoringJob:
        """Returns a job of a caller.

        Raises:
            JobNotFound: There is none, or another key made it; both get the same answer.
        """
        ...

    def of(self, owner: str | None) -> Sequence[ScoringJob]:
        """Returns the jobs of a caller, the oldest first."""
        ...

    def delete(self, job: ScoringJob) -> None:
        """Removes a job with its files; whoever runs it notices at the next `Claim.holds` or `Claim.save`."""
        ...

    def sweep(self) -> None:
        """Removes jobs that have expired, and what an interrupted upload or deletion left."""
        ...

    def leading(self) -> AbstractContextManager[None]:
        """Waits until this process may claim jobs, until the end of the context or of the process."""
        ...

    def claim(self) -> Claim | None:
        """Claims the job whose turn it is: one that was being run before any other, then the oldest.

        Raises:
            OSError: The store is gone, or another one has taken its place: this process leads no longer.
        """
        ...

    def wait(self, timeout_s: float) -> None:
        """Waits, while leading, until `wake` was called in any process since the last wait, or the time is over."""
        ...

    def wake(self) -> None:
        """Ends the wait of whoever leads."""
        ...

    def close(self) -> None:
        """Closes what is open; the next call opens it again."""
        ...
