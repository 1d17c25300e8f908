"""Jobs of one host: what is known of them in a SQLite file, their rows and uploads in a folder for each.

Of the host's processes one runs jobs: the one that holds the lock `.runner.lock`, which the kernel takes back however
that process ends. So a claim needs no time-out here.
"""

import errno
import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from brainmri.blocking import Stopped
from brainmri.bulk.jobs.adoption import SPEC, forget, older_jobs
from brainmri.bulk.jobs.database import Database, file_identity
from brainmri.bulk.jobs.folders import JobFolders
from brainmri.bulk.jobs.job import ScoringJob
from brainmri.bulk.jobs.record import ENDED, JobSpec, JobStatus, now
from brainmri.bulk.jobs.store import JobLimits
from brainmri.bulk.jobs.wakes import Wakes
from brainmri.errors import InvalidSettings, JobNotFound, StorageFull, TooManyJobs

_RETRY_AFTER_S = 60.0

# What is asked for by value has a column; the rest is one document, which records of later releases may extend.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    owner TEXT,
    created REAL NOT NULL,  -- seconds since 1970
    state TEXT NOT NULL,
    ended REAL,             -- seconds since 1970
    bytes INTEGER NOT NULL, -- of its files; those of a running job are measured when they are asked for
    spec TEXT NOT NULL,     -- JSON
    status TEXT NOT NULL    -- JSON
) STRICT;
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, created);
CREATE INDEX IF NOT EXISTS jobs_by_owner ON jobs (owner, created);
"""


class SqliteStore:
    """A `JobStore` for the processes of one host.

    Args:
        root: Is created, for nobody else to read; on a local disk.
        limits: How much is kept.
    """

    def __init__(self, root: Path, limits: JobLimits) -> None:
        self.root = root
        self.limits = limits
        self._folders = JobFolders(root)
        self._database = Database(root / "jobs.sqlite3", _SCHEMA)
        self._wakes = Wakes(root / ".runner.wake")
        self._lock = root / ".runner.lock"
        self._locked: tuple[int, int] | None = None

    def prepare(self) -> None:
        """See `JobStore`."""
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._wakes.prepare()
            self._adopt()
        except OSError as error:
            raise InvalidSettings(
                f"BRAINMRI_JOBS_DIR={self.root} cannot be used: {error.strerror}. Name a folder on a local disk that"
                " can be written to."
            ) from error
        finally:
            self.close()

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
            _insert(connection, job, self._folders.size(spec.id))
        self.wake()
        return job

    def get(self, identity: str, owner: str | None) -> ScoringJob:
        """See `JobStore`."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT * FROM jobs WHERE id = ? AND owner IS ?", (identity, owner)).fetchone()
        if row is None:
            raise JobNotFound("No job of yours has this id. It may have expired.")
        return self._job(row)

    def of(self, owner: str | None) -> list[ScoringJob]:
        """See `JobStore`."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT * FROM jobs WHERE owner IS ? ORDER BY created, id", (owner,)).fetchall()
        return [self._job(row) for row in rows]

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
            self.delete(self._job(row))
        self._folders.remove_leftovers(self.limits.upload_s)
        self._remove_orphans()

    @contextmanager
    def leading(self) -> Iterator[None]:
        """See `JobStore`."""
        with self._lock.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._locked = file_identity(self._lock)
            try:
                with self._wakes.listening():
                    yield
            finally:
                self._locked = None

    def claim(self) -> "SqliteClaim | None":
        """See `JobStore`."""
        if self._locked is not None and file_identity(self._lock) != self._locked:
            raise OSError(errno.ESTALE, "the folder of jobs was removed or replaced")
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT * FROM jobs WHERE state IN ('running', 'queued') ORDER BY state = 'queued', created, id LIMIT 1"
            ).fetchone()
        return None if row is None else SqliteClaim(self, self._job(row))

    def wait(self, timeout_s: float) -> None:
        """See `JobStore`."""
        self._wakes.wait(timeout_s)

    def wake(self) -> None:
        """See `JobStore`."""
        self._wakes.wake()

    def close(self) -> None:
        """See `JobStore`."""
        self._database.close()

    def knows(self, identity: str) -> bool:
        """Tells whether there is such a job."""
        with self._database.reading() as connection:
            return connection.execute("SELECT 1 FROM jobs WHERE id = ?", (identity,)).fetchone() is not None

    def save(self, job: ScoringJob) -> bool:
        """Stores how far a job is; False if it was deleted."""
        status, identity = job.status, job.spec.id
        size = self._folders.size(identity) if status.state in ENDED else 0
        with self._database.writing() as connection:
            saved = connection.execute(
                "UPDATE jobs SET state = ?, ended = ?, bytes = ?, status = ? WHERE id = ?",
                (status.state, _seconds(status), size, status.model_dump_json(), identity),
            )
        return saved.rowcount == 1

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
            known = {row["id"] for row in connection.execute("SELECT id FROM jobs")}
        for folder in old:
            if folder.name not in known:
                self._folders.remove(folder.name)

    def _adopt(self) -> None:
        for job in older_jobs(self._folders.all()):
            with self._database.writing() as connection:
                _insert(connection, job, 0)
            forget(job.folder)
            self.measure(job.spec.id)
        with self._database.writing():
            # Shows now whether the folder can be written to.
            pass

    def _require_room(self, connection: sqlite3.Connection, owner: str | None) -> None:
        jobs, mine, stored = connection.execute(
            "SELECT count(*), total(owner = ?), total(iif(state = 'running', 0, bytes)) FROM jobs", (owner,)
        ).fetchone()
        # Without API keys everybody is the same caller: `owner = NULL` counts nothing.
        for count, most, who in (
            (int(mine), self.limits.max_per_owner, "You already have"),
            (jobs, self.limits.max_jobs, "The server already keeps"),
        ):
            if count >= most:
                raise TooManyJobs(
                    f"{who} {count} jobs, the maximum. Delete one that has ended, or try again later.",
                    retry_after_s=_RETRY_AFTER_S,
                    limit=f"{most} jobs",
                )
        running = connection.execute("SELECT id FROM jobs WHERE state = 'running'").fetchall()
        growing = sum(self._folders.size(row["id"]) for row in running) + self._folders.incoming_size()
        if (used := int(stored) + growing) > self.limits.max_bytes:
            raise StorageFull(
                f"The jobs on this server take {used} bytes; they may take {self.limits.max_bytes}. Delete jobs that"
                " have ended, or try again later.",
                limit=f"{self.limits.max_bytes} bytes",
            )

    def _job(self, row: sqlite3.Row) -> ScoringJob:
        spec, status = JobSpec.model_validate_json(row["spec"]), JobStatus.model_validate_json(row["status"])
        return ScoringJob(self._folders.of(spec.id), spec, status)


class SqliteClaim:
    """A `Claim`: it holds as long as the job exists, because one process at a time leads.

    Args:
        store: Whose job it is.
        job: As it was when it was claimed.
    """

    def __init__(self, store: SqliteStore, job: ScoringJob) -> None:
        self._store = store
        self.job = job

    def holds(self) -> bool:
        """See `Claim`."""
        return self._store.knows(self.job.spec.id)

    def save(self, status: JobStatus) -> None:
        """See `Claim`."""
        job = ScoringJob(self.job.folder, self.job.spec, status)
        if not self._store.save(job):
            raise Stopped
        self.job = job

    def release(self) -> None:
        """See `Claim`."""
        self._store.measure(self.job.spec.id)


def _insert(connection: sqlite3.Connection, job: ScoringJob, size: int) -> None:
    spec, status = job.spec, job.status
    connection.execute(
        "INSERT OR IGNORE INTO jobs (id, owner, created, state, ended, bytes, spec, status)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            spec.id,
            spec.owner,
            spec.created.timestamp(),
            status.state,
            _seconds(status),
            size,
            spec.model_dump_json(),
            status.model_dump_json(),
        ),
    )


def _seconds(status: JobStatus) -> float | None:
    return None if status.ended is None else status.ended.timestamp()
