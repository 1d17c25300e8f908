"""Runs the jobs of a server, one at a time, in whichever of its workers holds the lock."""

import asyncio
import errno
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from brainmri.batching.bulk_lane import BulkLane
from brainmri.batching.engine import Engine
from brainmri.blocking import Stop, Stopped
from brainmri.bulk.archives.archive import ArchiveLimits
from brainmri.bulk.jobs.inputs import require_root
from brainmri.bulk.jobs.job import Job
from brainmri.bulk.jobs.lane_engine import LaneEngine
from brainmri.bulk.jobs.record import JobError, now
from brainmri.bulk.jobs.run import JobMethod, RunningJob, run_job
from brainmri.bulk.jobs.store import JobStore
from brainmri.bulk.scorer import Scorer
from brainmri.bulk.sources import Retry, Sources
from brainmri.errors import BrainMRIError, JobNotFound, NotReady, StorageFull
from brainmri.observe.metrics import Metrics
from brainmri.settings import Settings

POLL_S = 0.5
"""A new job begins, and a deleted one ends, after at most about this long."""

_SWEEP_S = 60.0
_PAUSE_S = 10.0
_STOP_S = 5.0

_logger = logging.getLogger(__name__)


class JobRunner:
    """The jobs' part of one worker.

    Of several workers one holds the lock in the jobs' directory and runs them; when it ends, however it does, another
    takes over and goes on where it stopped.

    Args:
        store: Where jobs are kept.
        engine: Whose models answer.
        lane: The way to it.
        metrics: What counts.
        settings: Limits.
        archives: What archives to refuse.
    """

    def __init__(
        self,
        store: JobStore,
        engine: Engine,
        lane: BulkLane,
        metrics: Metrics,
        settings: Settings,
        archives: ArchiveLimits,
    ) -> None:
        self._store = store
        self._engine = engine
        self._lane = lane
        self._metrics = metrics
        self._settings = settings
        self._archives = archives
        self._stopped = threading.Event()
        # Of its own: it is taken for as long as a job runs.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jobs")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to look for jobs; call it on the event loop."""
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Ends: what has been stored of a job that runs is kept, and the next start goes on from there."""
        self._stopped.set()
        if self._task is None:
            return
        _, late = await asyncio.wait([self._task], timeout=_STOP_S)
        for task in late:
            task.cancel()
        self._thread.shutdown(wait=False)

    async def _follow(self) -> None:
        while not self._stopped.is_set():
            try:
                with self._store.leading() as leads:
                    if leads:
                        await self._lead()
            except Exception:
                # Most likely of the disk. Jobs that wait are worth another try.
                _logger.exception("Jobs cannot be run; it is tried again")
                await asyncio.sleep(_PAUSE_S)
            await asyncio.sleep(POLL_S)

    async def _lead(self) -> None:
        clock = asyncio.get_running_loop().time
        sweep_at = clock()
        while not self._stopped.is_set():
            if clock() >= sweep_at:
                sweep_at = clock() + _SWEEP_S
                await asyncio.to_thread(self._store.sweep)
            job = await asyncio.to_thread(self._store.next) if self._lane.open else None
            if job is not None:
                await self._run(job)
            # Also after a job: one that stopped by itself must not spin.
            await asyncio.sleep(POLL_S)

    async def _run(self, job: Job) -> None:
        over = Stop()
        watching = asyncio.create_task(self._watch(job, over))
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._run_in_thread, job, loop, over)
        finally:
            watching.cancel()

    async def _watch(self, job: Job, over: Stop) -> None:
        """Tells the thread to stop when the service does, or when the job has been deleted."""
        while not self._stopped.is_set() and await asyncio.to_thread(lambda: job.exists):
            await asyncio.sleep(POLL_S)
        over.set()

    def _run_in_thread(self, job: Job, loop: asyncio.AbstractEventLoop, over: Stop) -> None:
        try:
            running = RunningJob(job)
            _logger.info("Job %s begins", job.shown)
            try:
                self._score(running, loop, over)
            except (NotReady, Stopped):
                running.pause()
                raise
        except (NotReady, Stopped):
            _logger.info("Job %s stops, and goes on when it can", job.shown)
        except BrainMRIError as error:
            self._fail(job, error)
        except OSError as error:
            self._fail(job, _disk_error(error))
        except Exception:
            _logger.exception("Job %s failed unexpectedly", job.shown)
            self._fail(job, BrainMRIError("The server failed unexpectedly. Try again; if it stays, report the id."))
        else:
            self._metrics.count_job("succeeded")
            _logger.info("Job %s succeeded", job.shown)
        finally:
            if not job.exists:
                self._store.delete(job)

    def _score(self, running: RunningJob, loop: asyncio.AbstractEventLoop, over: Stop) -> None:
        spec = running.job.spec
        predictor = self._engine.models.get(spec.model_name, spec.model_version)
        root = None if spec.source.path is None else require_root(self._settings.jobs_input_root)
        with closing(Sources(self._archives, Retry(), over)) as sources:
            engine = LaneEngine(Scorer(self._lane, predictor, self._metrics), sources, loop, over, root)
            run_job(running, JobMethod(predictor, self._settings, self._archives), engine, over)

    def _fail(self, job: Job, error: BrainMRIError) -> None:
        if not job.exists:
            _logger.info("Job %s was deleted", job.shown)
            return
        _logger.error("Job %s failed: %s", job.shown, error.message)
        try:
            known = self._store.get(job.spec.id, job.spec.owner).status
            failure = JobError(code=error.code, message=error.message)
            job.store(known.model_copy(update={"state": "failed", "ended": now(), "error": failure}))
        except (JobNotFound, FileNotFoundError):
            return
        self._metrics.count_job("failed")


def _disk_error(error: OSError) -> BrainMRIError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull("The server's disk has no room for the rows. Try again later, or with fewer images.")
    return BrainMRIError(f"The server's disk failed: {error.strerror or type(error).__name__}. Try again later.")
