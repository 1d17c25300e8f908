"""One job from its inputs to its results, in a thread; continues where an earlier process left it."""

import contextlib
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass

from brainmri.blocking import Stop
from brainmri.bulk.archives.archive import ArchiveLimits
from brainmri.bulk.finish import finish
from brainmri.bulk.jobs.inputs import job_inputs
from brainmri.bulk.jobs.job import ScoringJob
from brainmri.bulk.jobs.record import now
from brainmri.bulk.jobs.service_engine import ServiceEngine
from brainmri.bulk.jobs.store import Claim
from brainmri.bulk.manifest import Division, Frozen
from brainmri.bulk.run import Request, Share, score
from brainmri.bulk.run_folder import Method, Record
from brainmri.errors import ScoringHopeless, ScoringRefused
from brainmri.model.predictor import Predictor
from brainmri.settings import Settings

SHARD_SIZE = 64
"""Images that an interruption may cost; on two cores about half a second of work."""

_MOST_STARTS = 4


class RunningJob:
    """A job whose turn it is, and how far it is; the watcher of its run.

    Args:
        claim: The right to run it.

    Raises:
        ScoringHopeless: It was begun again and again without getting further: perhaps it ends the server.
    """

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        status = claim.job.status
        if status.starts >= _MOST_STARTS:
            raise ScoringHopeless(
                f"The job was begun {status.starts} times without getting further. One of its next images may end the"
                " process that decodes it: score the images with `brainmri score`, which finds out which."
            )
        started = status.started or now()
        self._update(state="running", started=started, starts=status.starts + 1)

    @property
    def job(self) -> ScoringJob:
        """The job, with its present status."""
        return self._claim.job

    def storing(self, shard: int) -> AbstractContextManager[None]:
        """Keeps the claim while a shard is stored; see `Claim`."""
        return self._claim.storing(shard)

    def begun(self, images: int, done: int, failed: int) -> None:
        """So many images are to be scored, of which an earlier run has done some."""
        self._update(images=images, done=done, failed=failed)

    def advanced(self, done: int, failed: int) -> None:
        """So many images are stored."""
        self._update(done=done, failed=failed, starts=0)

    def pause(self) -> None:
        """It stops in good order, which is no sign against it."""
        self._update(starts=max(self.job.status.starts - 1, 0))

    def end(self) -> None:
        """All rows are in the results."""
        self._update(state="succeeded", ended=now(), starts=0)

    def _update(self, **changes: object) -> None:
        self._claim.save(self.job.status.model_copy(update=changes))


@dataclass(frozen=True)
class JobMethod:
    """How the images of jobs are scored.

    Attributes:
        predictor: Which model answers.
        settings: Limits on images and archives, the novelty policy.
        archives: What archives to refuse.
        force: Answers also for DICOM objects that say they are not MRI of a head.
    """

    predictor: Predictor
    settings: Settings
    archives: ArchiveLimits
    force: bool

    def record(self) -> Method:
        """Returns what every row depends on besides its image."""
        predictor, settings = self.predictor, self.settings
        # The queue makes batches of what has come, up to the largest.
        return Method.of(
            predictor.contract,
            predictor.model.runtime,
            settings.novelty_policy,
            settings.max_batch_size,
            predictor.limits,
            force=self.force,
        )


def run_job(running: RunningJob, method: JobMethod, engine: ServiceEngine, stop: Stop) -> None:
    """Lists the images, scores what has no row yet, and joins the rows.

    Raises:
        BrainMRIError: The job cannot succeed, or the service is to end (`NotReady`).
        Stopped: It is not to go on now.
        OSError: The disk fails, or the job was deleted.
    """
    job = running.job
    record = job.run.record() or _begin(job, method, stop)
    if record.method != method.record():
        raise ScoringRefused(
            "The server's model or its limits have changed since the job began, so its rows would not be of one kind."
            " Delete it, and make another."
        )
    request = Request((), job.run.root, True, Share(), None, method.archives)
    score(request, record, engine, running, running.storing)
    finish([job.run], record, "parquet", labelled=False)
    running.end()
    # What the results were made of is not needed any more.
    with contextlib.suppress(FileNotFoundError):
        job.upload.unlink()
    shutil.rmtree(job.run.root / "parts", ignore_errors=True)


def _begin(job: ScoringJob, method: JobMethod, stop: Stop) -> Record:
    settings = method.settings
    inputs = job_inputs(job.spec.source, job.upload, settings.jobs_input_root, method.archives, stop)

    def make(frozen: Frozen) -> Record:
        return Record(
            inputs=(job.spec.source.path or "upload",),
            items=frozen.items,
            items_sha256=frozen.sha256,
            left_out=inputs.left_out.total(),
            left_out_reasons=dict(inputs.left_out),
            shard_size=frozen.shard_size,
            method=method.record(),
        )

    return job.run.begin(inputs, 0, Division(SHARD_SIZE), make)
