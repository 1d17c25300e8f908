"""Jobs of several replicas: what is known of them in PostgreSQL, their rows and uploads in a folder that all share.

A claim is a lease: it ends unless its holder renews it, and then another replica takes the job over. The token of the
lease fences: who holds an older one can neither save a status nor store a shard, because both happen in a transaction
that holds the job's row and has compared the token. All times are the database's, so clocks of replicas do not count.
"""

import errno
import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from brainmri.blocking import Stopped
from brainmri.bulk.jobs.job import ScoringJob
from brainmri.bulk.jobs.postgres_database import PostgresConnection, PostgresDatabase, translated
from brainmri.bulk.jobs.record import JobStatus
from brainmri.bulk.jobs.sql_store import SqlStore, ended_s
from brainmri.bulk.jobs.store import JobLimits
from brainmri.errors import InvalidSettings, StorageUnavailable

LEASE_S = 30.0
"""How long a job waits for a replica that was killed or cut off, in seconds."""

_CHANNEL = "brainmri_jobs"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    owner TEXT,
    created DOUBLE PRECISION NOT NULL, -- seconds since 1970
    state TEXT NOT NULL,
    ended DOUBLE PRECISION,            -- seconds since 1970
    bytes BIGINT NOT NULL,             -- of its files; those of a running job are measured when they are asked for
    spec TEXT NOT NULL,                -- JSON
    status TEXT NOT NULL,              -- JSON
    lease TEXT,                        -- token of who runs it
    leased_until TIMESTAMPTZ
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, created);
CREATE INDEX IF NOT EXISTS jobs_by_owner ON jobs (owner, created);
CREATE TABLE IF NOT EXISTS job_shards (
    job TEXT NOT NULL REFERENCES jobs ON DELETE CASCADE,
    shard INTEGER NOT NULL,
    lease TEXT NOT NULL,               -- of who stored it
    PRIMARY KEY (job, shard)
)
"""

_CLAIM = """
UPDATE jobs SET lease = ?, leased_until = clock_timestamp() + make_interval(secs => ?)
WHERE id = (
    SELECT id FROM jobs
    WHERE state IN ('running', 'queued') AND (lease IS NULL OR leased_until < clock_timestamp())
    ORDER BY state = 'queued', created, id LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING *
"""

_logger = logging.getLogger(__name__)


class PostgresStore(SqlStore):
    """A `JobStore` for several hosts.

    Args:
        root: Is created, for nobody else to read; every replica has it under this path.
        limits: How much is kept, by all replicas together.
        url: Of the database.
        lease_s: How long a claim lasts that is not renewed, in seconds.
    """

    def __init__(self, root: Path, limits: JobLimits, url: str, lease_s: float = LEASE_S) -> None:
        self._shared = PostgresDatabase(url)
        super().__init__(root, limits, self._shared)
        # Of its own: requests need not wait while a shard is being stored.
        self.claims = PostgresDatabase(url)
        self.lease_s = lease_s
        self._listening: Any = None

    def prepare(self) -> None:
        """See `JobStore`."""
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not os.access(self.root, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            with self._shared.writing() as connection:
                connection.execute(_SCHEMA)
        except OSError as error:
            raise InvalidSettings(
                f"BRAINMRI_JOBS_DIR={self.root} cannot be used: {error.strerror}. Name a folder that every replica has"
                " under this path and can write to."
            ) from error
        except StorageUnavailable as error:
            raise InvalidSettings(f"BRAINMRI_JOBS_DATABASE cannot be used. {error.message}") from error
        finally:
            self.close()

    @contextmanager
    def leading(self) -> Iterator[None]:
        """See `JobStore`; every process may claim jobs at any time."""
        listening = self._shared.connect()
        try:
            with translated():
                listening.execute(f"LISTEN {_CHANNEL}".encode())
            self._listening = listening
            yield
        finally:
            self._listening = None
            listening.close()

    def claim(self) -> "PostgresClaim | None":
        """See `JobStore`."""
        if not self.root.is_dir():
            raise OSError(errno.ESTALE, "the folder of jobs was removed")
        token = secrets.token_hex(16)
        with self.claims.reading() as connection:
            row = connection.execute(_CLAIM, (token, self.lease_s)).fetchone()
        return None if row is None else PostgresClaim(self, self.job_of(row), token)

    def wait(self, timeout_s: float) -> None:
        """See `JobStore`."""
        with translated():
            for _ in self._listening.notifies(timeout=timeout_s, stop_after=1):
                pass

    def wake(self) -> None:
        """See `JobStore`; wakes whoever leads in any replica."""
        # Without it the job is found at the next look, at most some seconds later.
        with suppress(StorageUnavailable), self._shared.reading() as connection:
            connection.execute(f"NOTIFY {_CHANNEL}")

    def close(self) -> None:
        """See `JobStore`."""
        super().close()
        self.claims.close()


class PostgresClaim:
    """A `Claim` that is a lease.

    Args:
        store: Whose job it is.
        job: As it was when it was claimed.
        token: Of the lease, drawn for this claim.
    """

    def __init__(self, store: PostgresStore, job: ScoringJob, token: str) -> None:
        self._store = store
        self._token = token
        self._renew_at, self._ends_at = self._times()
        self.job = job

    def holds(self) -> bool:
        """See `Claim`; while the database does not answer, a claim holds until its lease is over."""
        try:
            with self._store.claims.reading() as connection:
                if time.monotonic() < self._renew_at:
                    return self._mine(connection)
                times = self._times()
                renewed = connection.execute(
                    "UPDATE jobs SET leased_until = clock_timestamp() + make_interval(secs => ?)"
                    " WHERE id = ? AND lease = ?",
                    (self._store.lease_s, self.job.spec.id, self._token),
                )
        except StorageUnavailable as error:
            _logger.warning("The lease of job %s cannot be renewed: %s", self.job.shown, error.message)
            return time.monotonic() < self._ends_at
        self._renew_at, self._ends_at = times
        return renewed.rowcount == 1

    @contextmanager
    def storing(self, shard: int) -> Iterator[None]:
        """See `Claim`; a shard is noted with the lease that stored it."""
        try:
            with self._store.claims.transaction() as connection:
                self._require(connection)
                connection.execute(
                    "INSERT INTO job_shards (job, shard, lease) VALUES (?, ?, ?)"
                    " ON CONFLICT (job, shard) DO UPDATE SET lease = excluded.lease",
                    (self.job.spec.id, shard, self._token),
                )
                yield
        except StorageUnavailable as error:
            raise self._stopped(error) from error

    def save(self, status: JobStatus) -> None:
        """See `Claim`."""
        job = ScoringJob(self.job.folder, self.job.spec, status)
        size = self._store.ended_size(job)
        try:
            with self._store.claims.transaction() as connection:
                self._require(connection)
                connection.execute(
                    "UPDATE jobs SET state = ?, ended = ?, bytes = ?, status = ? WHERE id = ?",
                    (status.state, ended_s(status), size, status.model_dump_json(), job.spec.id),
                )
        except StorageUnavailable as error:
            raise self._stopped(error) from error
        self.job = job

    def release(self) -> None:
        """See `Claim`; a claim that cannot be given back ends with its lease."""
        try:
            with self._store.claims.reading() as connection:
                connection.execute(
                    "UPDATE jobs SET lease = NULL, leased_until = NULL WHERE id = ? AND lease = ?",
                    (self.job.spec.id, self._token),
                )
            self._store.measure(self.job.spec.id)
            # Whoever sleeps finds a job that is to go on elsewhere.
            self._store.wake()
        except StorageUnavailable as error:
            _logger.warning("Job %s could not be given back: %s", self.job.shown, error.message)

    def _times(self) -> tuple[float, float]:
        """Returns when to renew a lease that begins now, and when it has ended, by this process's clock."""
        begun = time.monotonic()
        return begun + self._store.lease_s / 3, begun + self._store.lease_s

    def _mine(self, connection: PostgresConnection) -> bool:
        found = connection.execute(
            "SELECT 1 AS mine FROM jobs WHERE id = ? AND lease = ?", (self.job.spec.id, self._token)
        )
        return found.fetchone() is not None

    def _require(self, connection: PostgresConnection) -> None:
        """Keeps others from taking the job over until the transaction ends.

        Raises:
            Stopped: Another has taken it over, or it was deleted.
        """
        found = connection.execute(
            "SELECT 1 AS mine FROM jobs WHERE id = ? AND lease = ? FOR UPDATE", (self.job.spec.id, self._token)
        )
        if found.fetchone() is None:
            raise Stopped

    def _stopped(self, error: StorageUnavailable) -> Stopped:
        """The job goes on, here or elsewhere, once the database answers."""
        _logger.warning("Job %s cannot be noted: %s", self.job.shown, error.message)
        return Stopped()
