"""Jobs of one host: what is known of them in a SQLite file, their rows and uploads in a folder for each.

Of the host's processes one runs jobs: the one that holds the lock `.runner.lock`, which the kernel takes back however
that process ends. So a claim needs no time-out here.
"""

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainmri.blocking import Stopped
from brainmri.bulk.jobs.adoption import forget, older_jobs
from brainmri.bulk.jobs.database import Database, file_identity
from brainmri.bulk.jobs.job import ScoringJob
from brainmri.bulk.jobs.record import JobStatus
from brainmri.bulk.jobs.sql_store import SqlStore, ended_s, insert
from brainmri.bulk.jobs.store import JobLimits
from brainmri.bulk.jobs.wakes import Wakes
from brainmri.errors import InvalidSettings

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


class SqliteStore(SqlStore):
    """A `JobStore` for the processes of one host.

    Args:
        root: Is created, for nobody else to read; on a local disk.
        limits: How much is kept.
    """

    def __init__(self, root: Path, limits: JobLimits) -> None:
        super().__init__(root, limits, Database(root / "jobs.sqlite3", _SCHEMA))
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
        return None if row is None else SqliteClaim(self, self.job_of(row))

    def wait(self, timeout_s: float) -> None:
        """See `JobStore`."""
        self._wakes.wait(timeout_s)

    def wake(self) -> None:
        """See `JobStore`."""
        self._wakes.wake()

    def knows(self, identity: str) -> bool:
        """Tells whether there is such a job."""
        with self._database.reading() as connection:
            return connection.execute("SELECT 1 FROM jobs WHERE id = ?", (identity,)).fetchone() is not None

    def save(self, job: ScoringJob) -> bool:
        """Stores how far a job is; False if it was deleted."""
        status, identity = job.status, job.spec.id
        size = self.ended_size(job)
        with self._database.writing() as connection:
            saved = connection.execute(
                "UPDATE jobs SET state = ?, ended = ?, bytes = ?, status = ? WHERE id = ?",
                (status.state, ended_s(status), size, status.model_dump_json(), identity),
            )
        return saved.rowcount == 1

    def _adopt(self) -> None:
        for job in older_jobs(self._folders.all()):
            with self._database.writing() as connection:
                insert(connection, job, 0)
            forget(job.folder)
            self.measure(job.spec.id)
        with self._database.writing():
            # Shows now whether the folder can be written to.
            pass


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

    @contextmanager
    def storing(self, shard: int) -> Iterator[None]:
        """See `Claim`; nobody else stores shards of this host's jobs."""
        yield

    def save(self, status: JobStatus) -> None:
        """See `Claim`."""
        job = ScoringJob(self.job.folder, self.job.spec, status)
        if not self._store.save(job):
            raise Stopped
        self.job = job

    def release(self) -> None:
        """See `Claim`."""
        self._store.measure(self.job.spec.id)
