"""The bulk work of one serving process: its way to the engine, and its jobs if the server keeps any."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brainmri.batching.bulk_limiter import BulkLimiter
from brainmri.batching.engine import Engine
from brainmri.blocking import Threads
from brainmri.bulk.archives.archive import ArchiveLimits
from brainmri.observe.metrics import Metrics
from brainmri.settings import Settings

if TYPE_CHECKING:
    from brainmri.bulk.jobs.runner import JobRunner
    from brainmri.bulk.jobs.store import JobLimits, JobStore

_JOB_THREADS = 4
"""Most calls of the store and readers of results at a time; a call takes milliseconds."""


@dataclass(frozen=True)
class Bulk:
    """What bulk requests and jobs share.

    Attributes:
        limiter: Limits how much of the engine bulk work takes.
        archives: What archives from callers to refuse.
        threads: What reads and writes archives in bulk requests.
        job_threads: What asks the store of jobs, and reads their results.
        store: Where jobs are kept; None if the server keeps none.
        runner: Runs them.
    """

    limiter: BulkLimiter
    archives: ArchiveLimits
    threads: Threads
    job_threads: Threads
    store: "JobStore | None"
    runner: "JobRunner | None"

    @classmethod
    def of(cls, engine: Engine, metrics: Metrics, settings: Settings) -> "Bulk":
        """Builds it; touches no disk."""
        limiter = BulkLimiter(engine, settings.bulk_images)
        archives = ArchiveLimits(
            max_members=settings.max_archive_images,
            max_member_bytes=settings.max_image_bytes,
            max_unpacked_bytes=settings.max_unpacked_bytes,
        )
        # Each bulk request reads or writes one thing at a time.
        threads = Threads("archive", settings.max_bulk_requests)
        # The store answers one call at a time; the others read results.
        job_threads = Threads("job-store", _JOB_THREADS)
        if settings.jobs_dir is None:
            return cls(limiter, archives, threads, job_threads, None, None)
        # What runs jobs brings pyarrow, 60 MB of memory; not every server keeps jobs.
        from brainmri.bulk.jobs.runner import JobRunner  # noqa: PLC0415
        from brainmri.bulk.jobs.store import JobLimits  # noqa: PLC0415

        limits = JobLimits(
            max_jobs=settings.max_jobs,
            max_per_owner=settings.max_jobs_per_key,
            max_bytes=settings.max_jobs_bytes,
            ttl_s=settings.jobs_ttl_s,
            upload_s=settings.bulk_timeout_s,
        )
        store = _store(settings.jobs_dir, settings, limits)
        runner = JobRunner(store, engine, limiter, metrics, settings, archives)
        return cls(limiter, archives, threads, job_threads, store, runner)

    def prepare(self) -> None:
        """Creates the jobs' directory, if the server keeps jobs.

        Raises:
            InvalidSettings: It cannot be created.
        """
        if self.store is not None:
            self.store.prepare()

    def start(self) -> None:
        """Begins to run jobs; call it on the event loop."""
        if self.runner is not None:
            self.runner.start()

    async def stop(self) -> None:
        """Ends the job that runs; it goes on at the next start."""
        if self.runner is not None:
            await self.runner.stop()
        if self.store is not None:
            self.store.close()


def _store(root: Path, settings: Settings, limits: "JobLimits") -> "JobStore":
    if settings.jobs_database is None:
        from brainmri.bulk.jobs.sqlite_store import SqliteStore  # noqa: PLC0415

        return SqliteStore(root, limits)
    from brainmri.bulk.jobs.postgres_store import PostgresStore  # noqa: PLC0415

    return PostgresStore(root, limits, settings.jobs_database.get_secret_value())
