"""Jobs of releases that kept what they knew of a job in its folder, as `job.json` and `status.json`."""

import logging
from collections.abc import Iterator
from pathlib import Path

from brainmri.bulk.jobs.job import ScoringJob
from brainmri.bulk.jobs.record import JobSpec, JobStatus

SPEC, _STATUS = "job.json", "status.json"

_logger = logging.getLogger(__name__)


def older_jobs(folders: list[Path]) -> Iterator[ScoringJob]:
    """Yields the jobs that an earlier release left; a folder that cannot be understood is left as it is.

    Args:
        folders: Of jobs.
    """
    for folder in folders:
        try:
            spec = JobSpec.model_validate_json((folder / SPEC).read_bytes())
            status = JobStatus.model_validate_json((folder / _STATUS).read_bytes())
        except FileNotFoundError:
            continue
        except ValueError as error:
            _logger.warning("Job %s of an earlier release is damaged and left out: %s", folder.name[:8], error)
        else:
            if spec.id == folder.name:
                yield ScoringJob(folder, spec, status)


def forget(folder: Path) -> None:
    """Removes what an earlier release knew of a job, once it is known elsewhere."""
    for name in (SPEC, _STATUS):
        (folder / name).unlink(missing_ok=True)
