"""Jobs to put into a store, whichever it is."""

import threading
from collections.abc import Sequence
from datetime import timedelta

from brainmri.bulk.jobs.job import ScoringJob
from brainmri.bulk.jobs.record import JobSpec, Source, now
from brainmri.bulk.jobs.store import JobStore
from brainmri.errors import TooManyJobs


def spec_of(number: int, owner: str | None = None, age_s: float = 0) -> JobSpec:
    return JobSpec(
        id=f"{number:032x}",
        owner=owner,
        created=now() - timedelta(seconds=age_s),
        source=Source(),
        model_name="m",
        model_version="1",
    )


def published(store: JobStore, number: int, owner: str | None = None, age_s: float = 0) -> ScoringJob:
    with store.incoming() as folder:
        (folder / "upload").write_bytes(b"x" * 1000)
        return store.publish(folder, spec_of(number, owner, age_s))


def refused_of_twenty(stores: Sequence[JobStore]) -> list[int]:
    """Publishes ten jobs in each of two stores at once, and returns the numbers of those that were refused."""
    refused: list[int] = []

    def publish(store: JobStore, first: int) -> None:
        for number in range(first, first + 10):
            try:
                published(store, number)
            except TooManyJobs:
                refused.append(number)

    threads = [threading.Thread(target=publish, args=pair) for pair in zip(stores, (0, 100), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return refused
