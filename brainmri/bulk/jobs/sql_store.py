"""What the stores of jobs have in common: one table of jobs in a database, and a folder of files for each job.

`brainmri.bulk.jobs.sqlite_store` keeps the table on one host, `brainmri.bulk.jobs.postgres_store` for several.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from brainmri.bulk.jobs.adoption import SPEC
from brainmri.bulk.jobs.folders import JobFolders
from brainmri.bulk.jobs.job import ScoringJob
from brainmri.bulk.jobs.record import ENDED, JobSpec, JobStatus, now
from brainmri.bulk.jobs.store import JobLimits
from brainmri.errors import JobNotFound, StorageFull, TooManyJobs

_RETRY_AFTER_S = 60.0


class Cursor(Protocol):
    """What a statement gave; rows are read by the names of their columns."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""
        ...

    def fetchone(self) -> Any:
        """Returns the next row; None after the last."""
        ...

    def fetchall(self) -> list[Any]:
        """Returns all rows that are left."""
        ...


class Connection(Protocol):
    """Runs statements as SQLite writes them: parameters are `?`, and `IS ?` compares with NULL too."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Cursor:
        """Runs a statement."""
        ...


class SqlDatabase(Protocol):
    """Lends connections."""

    def reading(self) -> AbstractContextManager[Connection]:
        """Lends a connection for single statements."""
        ...

    def writing(self) -> AbstractContextManager[Connection]:
        """Lends a connection within a transaction, alone among all writers."""
        ...

    def close(self) -> None:
        """Closes the connection; the next use opens another."""
        ...


class SqlStore:
    """The part of a `JobStore` that requests use.

    Args:
        root: Of the jobs' files.
        limits: How much is kept.
        database: Holds the table of jobs.
    """

    def __init__(self, root: Path, limits: JobLimits, database: SqlDatabase) -> None:
        self.root = root
        self.limits = limits
        self._folders = JobFolders(root)
        self._database = database

    def incoming(self) -> AbstractContextManager[Path]:
        """See `JobStore`."""
        return self._folders.incoming()

    def require_room(self, owner: str | None) -> None:
        """See `JobStore`."""
        with self._database.reading() as connection:
            self._require_room(connection, owner)

    def publish(self, folder: Path, spec: JobSpec) -> ScoringJob:
        """See `JobStore`."""
        (folder / "run" / "parts").mkdir(parents=True)
        with self._database.writing() as connection:
            self._require_room(connection, spec.owner)
            # The folder first: a row without one would be a job that fails; a folder without a row is swept.
            self._folders.move_in(folder, spec.id)
            job = ScoringJob(self._folders.of(spec.id), spec, JobStatus())
            insert(connection, job, self._folders.size(spec.id))
        self.wake()
        return job

    def get(self, identity: str, owner: str | None) -> ScoringJob:
        """See `JobStore`."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT * FROM jobs WHERE id = ? AND owner IS ?", (identity, owner)).fetchone()
        if row is None:
            raise JobNotFound("No job of yours has this id. It may have expired.")
        return self.job_of(row)

    def of(self, owner: str | None) -> list[ScoringJob]:
        """See `JobStore`."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT * FROM jobs WHERE owner IS ? ORDER BY created, id", (owner,)).fetchall()
        return [self.job_of(row) for row in rows]

    def delete(self, job: ScoringJob) -> None:
        """See `JobStore`."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM jobs WHERE id = ?", (job.spec.id,))
        self._folders.remove(job.spec.id)

    def sweep(self) -> None:
        """See `JobStore`."""
        expired = now().timestamp() - self.limits.ttl_s
        with self._database.reading() as connection:
            rows = connection.execute("SELECT * FROM jobs WHERE ended <= ?", (expired,)).fetchall()
        for row in rows:
            self.delete(self.job_of(row))
        self._folders.remove_leftovers(self.limits.upload_s)
        self._remove_orphans()

    def wake(self) -> None:
        """See `JobStore`."""
        raise NotImplementedError

    def close(self) -> None:
        """See `JobStore`."""
        self._database.close()

    def job_of(self, row: Any) -> ScoringJob:
        """Returns the job of a row of the table."""
        spec, status = JobSpec.model_validate_json(row["spec"]), JobStatus.model_validate_json(row["status"])
        return ScoringJob(self._folders.of(spec.id), spec, status)

    def ended_size(self, job: ScoringJob) -> int:
        """Returns the bytes of a job's files as its row tells them: 0 until it has ended."""
        return self._folders.size(job.spec.id) if job.status.state in ENDED else 0

    def measure(self, identity: str) -> None:
        """Stores how much room a job takes, and removes the files of one that was deleted."""
        size = self._folders.size(identity)
        with self._database.writing() as connection:
            measured = connection.execute("UPDATE jobs SET bytes = ? WHERE id = ?", (size, identity))
        if measured.rowcount == 0:
            self._folders.remove(identity)

    def _remove_orphans(self) -> None:
        """Removes folders of jobs that nobody knows: a process ended within a publication or a deletion."""
        old = [folder for folder in self._folders.older(self.limits.upload_s) if not (folder / SPEC).exists()]
        with self._database.reading() as connection:
            known = {row["id"] for row in connection.execute("SELECT id FROM jobs").fetchall()}
        for folder in old:
            if folder.name not in known:
                self._folders.remove(folder.name)

    def _require_room(self, connection: Connection, owner: str | None) -> None:
        # Without API keys everybody is the same caller: `owner = NULL` counts nothing.
        kept = connection.execute(
            "SELECT count(*) AS jobs, coalesce(sum(CASE WHEN owner = ? THEN 1 ELSE 0 END), 0) AS mine,"
            " coalesce(sum(CASE WHEN state = 'running' THEN 0 ELSE bytes END), 0) AS stored FROM jobs",
            (owner,),
        ).fetchone()
        for count, most, who in (
            (int(kept["mine"]), self.limits.max_per_owner, "You already have"),
            (int(kept["jobs"]), self.limits.max_jobs, "The server already keeps"),
        ):
            if count >= most:
                raise TooManyJobs(
                    f"{who} {count} jobs, the maximum. Delete one that has ended, or try again later.",
                    retry_after_s=_RETRY_AFTER_S,
                    limit=f"{most} jobs",
                )
        running = connection.execute("SELECT id FROM jobs WHERE state = 'running'").fetchall()
        growing = sum(self._folders.size(row["id"]) for row in running) + self._folders.incoming_size()
        if (used := int(kept["stored"]) + growing) > self.limits.max_bytes:
            raise StorageFull(
                f"The jobs on this server take {used} bytes; they may take {self.limits.max_bytes}. Delete jobs that"
                " have ended, or try again later.",
                limit=f"{self.limits.max_bytes} bytes",
            )


def insert(connection: Connection, job: ScoringJob, size: int) -> None:
    """Writes the row of a job, unless there is one.

    Args:
        connection: Within a transaction.
        job: Whose row.
        size: Bytes of its files.
    """
    spec, status = job.spec, job.status
    connection.execute(
        "INSERT INTO jobs (id, owner, created, state, ended, bytes, spec, status)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            spec.id,
            spec.owner,
            spec.created.timestamp(),
            status.state,
            ended_s(status),
            size,
            spec.model_dump_json(),
            status.model_dump_json(),
        ),
    )


def ended_s(status: JobStatus) -> float | None:
    """Returns when a job ended, in seconds since 1970; None if it has not."""
    return None if status.ended is None else status.ended.timestamp()
