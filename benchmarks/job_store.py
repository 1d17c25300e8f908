"""What keeping jobs costs: a server that has nothing to do, the question for the next job, the check before an upload.

python -m benchmarks.job_store --jobs 100
"""

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Annotated, Any, cast

import typer
from prometheus_client import CollectorRegistry

from benchmarks.options import WriteTo
from benchmarks.report import DEFAULT_FOLDER, Report, table
from brainmri.bulk.archives.archive import ArchiveLimits
from brainmri.bulk.jobs.record import JobSpec, Source, now
from brainmri.bulk.jobs.runner import JobRunner
from brainmri.bulk.jobs.sqlite_store import SqliteClaim, SqliteStore
from brainmri.bulk.jobs.store import JobLimits, JobStore
from brainmri.observe.metrics import Metrics
from brainmri.settings import Settings

OWNER = "anna"
_PARTS, _BYTES = 4, 1000
_WARM_S = 1.0


@dataclass(frozen=True)
class Costs:
    """What a store of jobs costs.

    Attributes:
        claim_ms: CPU time of the question whose turn it is, nobody's, in milliseconds.
        room_ms: CPU time of the check before an upload.
        list_ms: CPU time of the list of one caller's jobs.
        idle_ms_per_s: CPU time of a process whose runner has nothing to do, in milliseconds a second.
    """

    claim_ms: float
    room_ms: float
    list_ms: float
    idle_ms_per_s: float


def fill(store: SqliteStore, jobs: int) -> None:
    """Makes jobs that have ended, each with an upload and some parts."""
    for number in range(jobs):
        spec = JobSpec(
            id=f"{number:032x}", owner=OWNER, created=now(), source=Source(), model_name="m", model_version="1"
        )
        with store.incoming() as folder:
            (folder / "upload").write_bytes(bytes(_BYTES))
            job = store.publish(folder, spec)
        for part in range(_PARTS):
            (job.run.root / "parts" / f"{part:06d}.parquet").write_bytes(bytes(_BYTES))
        claim = SqliteClaim(store, job)
        claim.save(job.status.model_copy(update={"state": "succeeded", "ended": now(), "images": 256, "done": 256}))
        claim.release()


def cpu_ms(work: Callable[[], object], times: int = 50) -> float:
    """Returns the median CPU time of this thread for one call; what else the machine does hardly changes it."""
    taken = []
    for _ in range(times):
        begun = time.thread_time()
        work()
        taken.append((time.thread_time() - begun) * 1e3)
    return median(taken)


async def idle_ms_per_s(store: JobStore, seconds: float) -> float:
    """Returns the CPU time of this process while a runner waits for a job."""
    limiter = cast(Any, SimpleNamespace(open=True, images=1))
    engine = cast(Any, None)
    runner = JobRunner(store, engine, limiter, Metrics(CollectorRegistry()), Settings(), ArchiveLimits())
    runner.start()
    # The first sweep is over after that.
    await asyncio.sleep(_WARM_S)
    before = time.process_time()
    await asyncio.sleep(seconds)
    used = time.process_time() - before
    await runner.stop()
    return used * 1e3 / seconds


def measure(jobs: int, seconds: float) -> Costs:
    """Measures a store in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="job-store-") as folder:
        store = SqliteStore(Path(folder) / "jobs", JobLimits(10 * jobs, 10 * jobs, 2**40, 1e6, 1e6))
        store.prepare()
        fill(store, jobs)
        costs = Costs(
            cpu_ms(store.claim),
            cpu_ms(lambda: store.require_room(OWNER)),
            cpu_ms(lambda: store.of(OWNER)),
            asyncio.run(idle_ms_per_s(store, seconds)),
        )
        store.close()
    return costs


def main(
    jobs: Annotated[int, typer.Option(help="Jobs that are kept.", min=1)] = 100,
    seconds: Annotated[float, typer.Option(help="How long nothing happens.", min=1)] = 20,
    output: WriteTo = DEFAULT_FOLDER / "job-store",
) -> None:
    """Measure what keeping jobs costs."""
    report = Report("job_store", {"jobs": str(jobs), "nothing to do for": f"{seconds:g} s"})
    report.numbers["costs"] = costs = asdict(measure(jobs, seconds))
    report.add("CPU time in milliseconds:")
    report.add(*table(["what", "ms"], [[name, f"{cost:.3f}"] for name, cost in costs.items()]))
    report.publish(output)


if __name__ == "__main__":
    typer.run(main)
