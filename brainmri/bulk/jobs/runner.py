"""Runs the jobs of a server: one at a time in whichever of its workers leads."""

import asyncio
import logging
import threading
import time
from contextlib import closing

from brainmri import durable
from brainmri.batching.bulk_limiter import BulkLimiter
from brainmri.batching.engine import Engine
from brainmri.blocking import Stop, Stopped, Threads
from brainmri.bulk.archives.archive import ArchiveLimits
from brainmri.bulk.jobs.inputs import require_root
from brainmri.bulk.jobs.record import JobError, now
from brainmri.bulk.jobs.run import JobMethod, RunningJob, run_job
from brainmri.bulk.jobs.service_engine import ServiceEngine
from brainmri.bulk.jobs.store import Claim, JobStore
from brainmri.bulk.scorer import Scorer
from brainmri.bulk.sources import Retry, Sources
from brainmri.errors import BrainMRIError, NotReady, StorageFull, StorageUnavailable
from brainmri.observe.metrics import Metrics
from brainmri.settings import Settings

POLL_S = 0.5
"""How often the runner looks whether the job that runs was deleted, and whether the engine has become ready."""

_SWEEP_S = 60.0
PAUSE_S = 10.0
"""Between two looks at a disk that fails, and the longest before the folder of jobs is looked for again."""

_STOP_S = 5.0

_logger = logging.getLogger(__name__)


class JobRunner:
    """The jobs' part of one worker, in a thread of its own.

    Of several workers one leads and runs jobs; when it ends, however it does, another takes over and goes on where it
    stopped. The thread sleeps until a job is published, and once a minute sweeps what has expired.

    Args:
        store: Where jobs are kept.
        engine: Whose models answer.
        limiter: Limits how much of it jobs take.
        metrics: Counts jobs by how they end.
        settings: Limits.
        archives: What archives to refuse.
    """

    def __init__(
        self,
        store: JobStore,
        engine: Engine,
        limiter: BulkLimiter,
        metrics: Metrics,
        settings: Settings,
        archives: ArchiveLimits,
    ) -> None:
        self._store = store
        self._engine = engine
        self._limiter = limiter
        self._metrics = metrics
        self._settings = settings
        self._archives = archives
        self._stopped = threading.Event()
        self._leads = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to look for jobs; call it on the event loop."""
        loop = asyncio.get_running_loop()
        # A daemon: where another worker leads, it waits for as long as that one lives.
        self._thread = threading.Thread(target=self._run, args=(loop,), name="jobs", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Ends: what has been stored of a job that runs is kept, and the next start goes on from there."""
        self._stopped.set()
        if self._thread is not None and self._leads:
            ending = Threads("jobs-end", 1)
            await ending.run(self._store.wake)
            await ending.run(self._thread.join, _STOP_S)
            ending.close()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._stopped.is_set():
            try:
                with self._store.leading():
                    self._leads = True
                    self._lead(loop)
            except (OSError, StorageUnavailable) as error:
                _logger.error("Jobs cannot be run, which is tried again every %g s: %s", PAUSE_S, error)
                self._stopped.wait(PAUSE_S)
            except Exception:
                _logger.exception("Jobs cannot be run; it is tried again")
                self._stopped.wait(PAUSE_S)
            finally:
                self._leads = False

    def _lead(self, loop: asyncio.AbstractEventLoop) -> None:
        sweep_at = time.monotonic()
        while not self._stopped.is_set():
            if time.monotonic() >= sweep_at:
                sweep_at = time.monotonic() + _SWEEP_S
                self._store.sweep()
            claim = self._store.claim() if self._limiter.open else None
            if claim is not None:
                if not self._finish(claim, loop):
                    # It stopped by itself, and must not spin.
                    self._stopped.wait(POLL_S)
            elif self._limiter.open:
                self._store.wait(min(max(sweep_at - time.monotonic(), 0.0), PAUSE_S))
            else:
                self._stopped.wait(POLL_S)

    def _finish(self, claim: Claim, loop: asyncio.AbstractEventLoop) -> bool:
        """Runs a job; False if it is to go on later."""
        over = Stop()
        ended = threading.Event()
        watching = threading.Thread(target=self._watch, args=(claim, over, ended), name="job-watch", daemon=True)
        watching.start()
        try:
            return self._try(claim, loop, over)
        finally:
            ended.set()
            watching.join()
            claim.release()

    def _watch(self, claim: Claim, over: Stop, ended: threading.Event) -> None:
        """Tells the job to stop when the service does, or when the job has been deleted."""
        try:
            while not self._stopped.is_set() and claim.holds():
                if ended.wait(POLL_S):
                    return
        except (OSError, StorageUnavailable) as error:
            # The job goes on once the store answers again.
            _logger.warning("The store of jobs cannot be read: %s", error)
        finally:
            over.set()

    def _try(self, claim: Claim, loop: asyncio.AbstractEventLoop, over: Stop) -> bool:
        shown = claim.job.shown
        try:
            running = RunningJob(claim)
            _logger.info("Job %s begins", shown)
            try:
                self._score(running, loop, over)
            except (NotReady, Stopped):
                running.pause()
                raise
        except (NotReady, Stopped):
            _logger.info("Job %s stops, and goes on when it can", shown)
            return False
        except BrainMRIError as error:
            self._fail(claim, error)
        except OSError as error:
            self._fail(claim, _disk_error(error))
        except Exception:
            _logger.exception("Job %s failed unexpectedly", shown)
            self._fail(claim, BrainMRIError("The server failed unexpectedly. Try again; if it stays, report the id."))
        else:
            self._metrics.count_job("succeeded")
            _logger.info("Job %s succeeded", shown)
        return True

    def _score(self, running: RunningJob, loop: asyncio.AbstractEventLoop, over: Stop) -> None:
        spec = running.job.spec
        predictor = self._engine.models.get(spec.model_name, spec.model_version)
        root = None if spec.source.path is None else require_root(self._settings.jobs_input_root)
        method = JobMethod(predictor, self._settings, self._archives, spec.force)
        with closing(Sources(self._archives, Retry(), over)) as sources:
            scorer = Scorer(self._limiter, predictor, self._metrics, force=spec.force)
            with closing(ServiceEngine(scorer, sources, loop, over, root)) as engine:
                run_job(running, method, engine, over)

    def _fail(self, claim: Claim, error: BrainMRIError) -> None:
        shown, failure = claim.job.shown, JobError(code=error.code, message=error.message)
        changes = {"state": "failed", "ended": now(), "error": failure}
        try:
            claim.save(claim.job.status.model_copy(update=changes))
        except Stopped:
            _logger.info("Job %s was deleted", shown)
            return
        _logger.error("Job %s failed: %s", shown, error.message)
        self._metrics.count_job("failed")


def _disk_error(error: OSError) -> BrainMRIError:
    if durable.is_full(error):
        return StorageFull("The server's disk has no room for the rows. Try again later, or with fewer images.")
    return BrainMRIError(f"The server's disk failed: {error.strerror or type(error).__name__}. Try again later.")
