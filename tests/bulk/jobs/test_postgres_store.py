import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from brainmri.blocking import Stopped
from brainmri.bulk.jobs.postgres_store import PostgresClaim, PostgresStore
from brainmri.bulk.jobs.record import JobStatus, now
from brainmri.bulk.jobs.store import JobLimits
from brainmri.errors import InvalidSettings, JobNotFound, StorageUnavailable
from tests.bulk.jobs.publishing import published, refused_of_twenty
from tests.postgres import Cluster

pytestmark = pytest.mark.slow

Open = Callable[..., PostgresStore]


@pytest.fixture
def replica(postgres: Cluster, tmp_path: Path) -> Iterator[Open]:
    """Opens a store as another replica would: `replica(lease_s=1, max_jobs=5)`."""
    url = postgres.database()

    def start(lease_s: float = 60, **limits: Any) -> PostgresStore:
        parts = {"max_jobs": 10, "max_per_owner": 10, "max_bytes": 2**30, "ttl_s": 60.0, "upload_s": 60.0}
        store = PostgresStore(tmp_path / "jobs", JobLimits(**{**parts, **limits}), url, lease_s)
        store.prepare()
        stores.callback(store.close)
        return store

    with ExitStack() as stores:
        yield start


def claimed(store: PostgresStore) -> PostgresClaim:
    """Waits until a job can be claimed."""
    for _ in range(600):
        if (claim := store.claim()) is not None:
            return claim
        time.sleep(0.05)
    pytest.fail("No job could be claimed")


def leases(store: PostgresStore) -> list[dict[str, Any]]:
    with store.claims.reading() as connection:
        return connection.execute("SELECT * FROM job_shards ORDER BY job, shard").fetchall()


def test_a_job_made_at_one_replica_is_seen_and_deleted_at_another(replica: Open) -> None:
    first, second = replica(), replica()
    jobs = [published(first, number, "anna", age_s=10 - number) for number in (1, 2)]
    published(first, 3, "ben")
    assert second.of("anna") == jobs
    assert second.get(jobs[0].spec.id, "anna").upload.read_bytes() == b"x" * 1000
    for identity, owner in ((jobs[0].spec.id, "ben"), (jobs[0].spec.id, None), (f"{9:032x}", "anna")):
        with pytest.raises(JobNotFound):
            second.get(identity, owner)
    claim = claimed(first)
    assert claim.holds()
    second.delete(claim.job)
    assert not claim.holds()
    with pytest.raises(Stopped):
        claim.save(JobStatus(state="running"))
    claim.release()
    assert not claim.job.folder.exists()


def test_each_job_is_claimed_once_the_oldest_first_and_one_that_was_begun_before_it(replica: Open) -> None:
    first, second = replica(), replica()
    jobs = [published(first, number, age_s=100 - number) for number in range(3)]
    one, other = claimed(first), claimed(second)
    assert [one.job, other.job] == jobs[:2]
    other.save(other.job.status.model_copy(update={"state": "running", "done": 64}))
    other.release()
    again = claimed(first)
    assert (again.job.spec, again.job.status.done) == (jobs[1].spec, 64)
    assert claimed(second).job == jobs[2]
    assert (first.claim(), second.claim()) == (None, None)


def test_a_lease_that_was_not_renewed_goes_to_another_and_fences_its_holder_off(replica: Open) -> None:
    first, second = replica(lease_s=0.2), replica()
    published(first, 1)
    stale = claimed(first)
    stale.save(JobStatus(state="running", done=64))
    with stale.storing(0):
        pass
    claim = claimed(second)
    assert claim.job.status.done == 64
    assert not stale.holds()
    written: list[str] = []
    with pytest.raises(Stopped), stale.storing(1):
        written.append("by the stale one")
    with pytest.raises(Stopped):
        stale.save(JobStatus(state="succeeded", ended=now()))
    stale.release()
    # Neither has taken anything from the one who holds it.
    assert claim.holds()
    with claim.storing(1):
        written.append("by the holder")
    assert written == ["by the holder"]
    assert second.of(None)[0].status.state == "running"
    assert [row["lease"] == claim._token for row in leases(second)] == [False, True]


def test_a_lease_is_renewed_when_a_third_of_it_is_over(replica: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    store = replica(lease_s=60)
    published(store, 1)
    claim = claimed(store)

    def until() -> Any:
        with store.claims.reading() as connection:
            row = connection.execute("SELECT leased_until FROM jobs").fetchone()
        assert row is not None
        return row["leased_until"]

    before = until()
    assert claim.holds()
    assert until() == before
    monkeypatch.setattr(claim, "_renew_at", 0.0)
    assert claim.holds()
    assert until() > before
    assert claim._renew_at > time.monotonic()


def test_nobody_takes_a_job_over_while_a_shard_of_it_is_stored(replica: Open) -> None:
    first, second = replica(lease_s=0.1), replica()
    published(first, 1)
    claim = claimed(first)
    with claim.storing(0):
        time.sleep(0.3)
        assert second.claim() is None
    assert claimed(second).job.spec == claim.job.spec


def test_runners_that_take_over_from_each_other_store_each_shard_once(replica: Open, tmp_path: Path) -> None:
    shards = range(20)
    stores = [replica(lease_s=0.05) for _ in range(4)]
    published(stores[0], 1)
    stored: Counter[int] = Counter()
    lost = threading.Semaphore(0)

    def work(store: PostgresStore, number: int) -> None:
        while len(stored) < len(shards):
            if (claim := store.claim()) is None:
                time.sleep(0.01)
                continue
            try:
                for shard in (shard for shard in shards if shard not in stored):
                    with claim.storing(shard):
                        stored[shard] += 1
                    # Longer than the lease: somebody else takes over while this one believes to hold it.
                    time.sleep(0.02 * number)
            except Stopped:
                lost.release()

    threads = [threading.Thread(target=work, args=(store, 1 + place)) for place, store in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert stored == Counter(shards)
    assert [row["shard"] for row in leases(stores[0])] == list(shards)
    assert lost.acquire(blocking=False), "No runner was ever overtaken"


def test_a_wait_ends_when_another_replica_publishes(replica: Open) -> None:
    leader, other = replica(), replica()
    with leader.leading():
        published(other, 1)
        begun = time.monotonic()
        leader.wait(60)
        assert time.monotonic() - begun < 50
        # The wake is taken: nobody publishes, and the time is over.
        begun = time.monotonic()
        leader.wait(0.2)
        assert time.monotonic() - begun >= 0.15


def test_two_replicas_that_publish_at_once_keep_to_the_limit(replica: Open) -> None:
    stores = [replica(max_jobs=5) for _ in range(2)]
    refused = refused_of_twenty(stores)
    assert (len(stores[0].of(None)), len(refused)) == (5, 15)


def test_what_has_expired_is_swept_by_any_replica(replica: Open) -> None:
    first, second = replica(), replica()
    job, kept = published(first, 1, age_s=100), published(first, 2)
    claim = claimed(first)
    claim.save(JobStatus(state="succeeded", ended=now() - timedelta(seconds=61)))
    claim.release()
    second.sweep()
    assert [left.spec for left in first.of(None)] == [kept.spec]
    assert (job.folder.exists(), kept.folder.exists()) == (False, True)


def test_a_database_that_is_away_for_a_while_costs_nothing_but_that_while(postgres: Cluster, replica: Open) -> None:
    store = replica()
    published(store, 1)
    claim = claimed(store)
    postgres.stop()
    try:
        with pytest.raises(StorageUnavailable, match="The database of jobs does not answer") as refusal:
            store.of(None)
        assert "secret" not in refusal.value.message
        # Its lease is not over.
        claim._renew_at = 0.0
        assert claim.holds()
        with pytest.raises(Stopped):
            claim.save(JobStatus(state="running"))
        claim._ends_at = 0.0
        assert not claim.holds()
        claim.release()
        store.wake()
    finally:
        postgres.start()
    assert len(store.of(None)) == 1
    claim.save(JobStatus(state="running", done=64))
    assert store.of(None)[0].status.done == 64


def test_a_database_that_cannot_be_reached_stops_the_start(tmp_path: Path) -> None:
    limits = JobLimits(1, 1, 1, 1, 1)
    store = PostgresStore(tmp_path, limits, "postgresql://brainmri:secret@127.0.0.1:1/jobs")
    with pytest.raises(InvalidSettings, match="BRAINMRI_JOBS_DATABASE cannot be used") as refusal:
        store.prepare()
    assert "secret" not in refusal.value.message


def test_a_folder_that_cannot_be_used_stops_the_start(tmp_path: Path, postgres: Cluster) -> None:
    (tmp_path / "jobs").write_text("x")
    with pytest.raises(InvalidSettings, match=r"BRAINMRI_JOBS_DIR=.* every replica has"):
        PostgresStore(tmp_path / "jobs", JobLimits(1, 1, 1, 1, 1), postgres.url()).prepare()
