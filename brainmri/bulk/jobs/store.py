"""Jobs on disk: a folder each, seen by all workers of a server and by the next one after a restart.

    <root>/<id>/job.json       what was asked
    <root>/<id>/status.json    how far it is
    <root>/<id>/upload         the archive, if it was uploaded
    <root>/<id>/run/           manifest, parts and results; see `brainmri.bulk.run_folder`

Folders whose name begins with a dot are on their way in or out.
"""

import contextlib
import fcntl
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from brainmri.bulk.jobs.job import SPEC, STATUS, Job, write
from brainmri.bulk.jobs.record import ENDED, JobSpec, JobStatus, now
from brainmri.errors import InvalidSettings, JobNotFound, StorageFull, TooManyJobs

_ID = re.compile(r"[0-9a-f]{32}")
_INCOMING, _OUTGOING = ".incoming-", ".outgoing-"
_RETRY_AFTER_S = 60.0


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


class JobStore:
    """The directory of jobs. Its methods touch the disk: call them in a thread.

    Args:
        root: Is created, for nobody else to read.
        limits: How much is kept.
    """

    def __init__(self, root: Path, limits: JobLimits) -> None:
        self.root = root
        self.limits = limits

    def prepare(self) -> None:
        """Creates the directory, if there is none.

        Raises:
            InvalidSettings: It cannot be created, or not written to.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._locked():
                pass
        except OSError as error:
            raise InvalidSettings(
                f"BRAINMRI_JOBS_DIR={self.root} cannot be used: {error.strerror}. Name a folder that can be written to."
            ) from error

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """Makes the folder of a job that is being uploaded; it is gone after the context unless it was published."""
        folder = self.root / f"{_INCOMING}{secrets.token_hex(16)}"
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def require_room(self, owner: str | None) -> None:
        """Refuses another job of a caller, before its upload.

        Raises:
            TooManyJobs: As many are kept as may be.
            StorageFull: They take as much room as they may.
        """
        jobs = list(self.all())
        # Without API keys everybody is the same caller.
        mine = [job for job in jobs if owner is not None and job.spec.owner == owner]
        for count, most, whose in (
            (len(mine), self.limits.max_per_owner, "of yours are kept"),
            (len(jobs), self.limits.max_jobs, "are kept"),
        ):
            if count >= most:
                raise TooManyJobs(
                    f"{count} jobs {whose}, as many as may be. Delete one that has ended, or try again later.",
                    retry_after_s=_RETRY_AFTER_S,
                    limit=f"{most} jobs",
                )
        if (used := _size(self.root)) > self.limits.max_bytes:
            raise StorageFull(
                f"The jobs on this server take {used} bytes; they may take {self.limits.max_bytes}. Delete jobs that"
                " have ended, or try again later.",
                limit=f"{self.limits.max_bytes} bytes",
            )

    def publish(self, folder: Path, spec: JobSpec) -> Job:
        """Makes a job of an incoming folder; from now on it is run.

        Raises:
            TooManyJobs, StorageFull: See `require_room`; of several that are published at once, some may be one too
                many.
        """
        (folder / "run" / "parts").mkdir(parents=True)
        write(folder / SPEC, spec)
        write(folder / STATUS, JobStatus())
        with self._locked():
            self.require_room(spec.owner)
            folder.rename(self.root / spec.id)
        return Job(self.root / spec.id, spec, JobStatus())

    def get(self, identity: str, owner: str | None) -> Job:
        """Returns a job of a caller.

        Raises:
            JobNotFound: There is none, or another key made it, which is not told apart.
        """
        job = self._read(self.root / identity) if _ID.fullmatch(identity) else None
        if job is None or job.spec.owner != owner:
            raise JobNotFound("No job of yours has this id. It may have expired.")
        return job

    def all(self) -> Iterator[Job]:
        """Yields every job, the oldest first."""
        jobs = (self._read(folder) for folder in self.root.iterdir() if _ID.fullmatch(folder.name))
        yield from sorted(filter(None, jobs), key=lambda job: (job.spec.created, job.spec.id))

    def of(self, owner: str | None) -> list[Job]:
        """Returns the jobs of a caller, the oldest first."""
        return [job for job in self.all() if job.spec.owner == owner]

    def delete(self, job: Job) -> None:
        """Removes a job, and what whoever runs it has written since it was removed; that one notices."""
        outgoing = self.root / f"{_OUTGOING}{job.spec.id}"
        with contextlib.suppress(FileNotFoundError):
            # At once for everybody; removing file by file would not be.
            job.folder.rename(outgoing)
        shutil.rmtree(outgoing, ignore_errors=True)

    def sweep(self) -> None:
        """Removes jobs that have expired, and what an interrupted upload or deletion left."""
        for job in self.all():
            expires = job.expires(self.limits.ttl_s)
            if expires is not None and expires <= now():
                self.delete(job)
        for folder in self.root.glob(".*-*"):
            with contextlib.suppress(FileNotFoundError):
                age_s = time.time() - folder.stat().st_mtime
                if folder.name.startswith(_OUTGOING) or age_s > self.limits.upload_s:
                    shutil.rmtree(folder, ignore_errors=True)

    def next(self) -> Job | None:
        """Returns the job whose turn it is: one that was being run before any other, then the oldest."""
        waiting = [job for job in self.all() if job.status.state not in ENDED]
        return min(waiting, key=lambda job: job.status.state == "queued", default=None)

    @contextmanager
    def leading(self) -> Iterator[bool]:
        """Makes this process the one that runs jobs, unless another one is; the kernel ends that with the process.

        Yields:
            Whether it is.
        """
        with (self.root / ".runner.lock").open("wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.root / ".lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _read(self, folder: Path) -> Job | None:
        try:
            spec = JobSpec.model_validate_json((folder / SPEC).read_bytes())
            status = JobStatus.model_validate_json((folder / STATUS).read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValidationError):
            # Being deleted, or of another version of this code.
            return None
        return Job(folder, spec, status)


def _size(folder: Path) -> int:
    """Returns the bytes of all files, those that are still being uploaded included."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total
