import json
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from brainmri.blocking import Stopped
from brainmri.bulk.jobs.record import JobError, JobSpec, JobStatus, now
from brainmri.bulk.jobs.sqlite_store import SqliteClaim, SqliteStore
from brainmri.bulk.jobs.store import JobLimits
from brainmri.errors import InvalidSettings, JobNotFound, StorageFull, TooManyJobs
from tests.bulk.jobs.publishing import published, refused_of_twenty, spec_of

DAY_S = 86400.0


def store_of(folder: Path, **limits: Any) -> SqliteStore:
    parts = {"max_jobs": 10, "max_per_owner": 10, "max_bytes": 2**30, "ttl_s": 60.0, "upload_s": 60.0}
    store = SqliteStore(folder, JobLimits(**{**parts, **limits}))
    store.prepare()
    return store


def claimed(store: SqliteStore) -> SqliteClaim:
    claim = store.claim()
    assert claim is not None
    return claim


def ended(claim: SqliteClaim, age_s: float = 0) -> None:
    status = claim.job.status.model_copy(update={"state": "succeeded", "ended": now() - timedelta(seconds=age_s)})
    claim.save(status)


def test_a_job_is_known_to_every_process_as_it_was_published(tmp_path: Path) -> None:
    first, second = store_of(tmp_path), store_of(tmp_path)
    jobs = [published(first, number, "anna", age_s=10 - number) for number in (1, 2)]
    published(first, 3, "ben")
    assert second.of("anna") == jobs
    assert second.get(jobs[0].spec.id, "anna") == jobs[0]
    assert jobs[0].upload.read_bytes() == b"x" * 1000
    for identity, owner in ((jobs[0].spec.id, "ben"), (jobs[0].spec.id, None), (f"{9:032x}", "anna")):
        with pytest.raises(JobNotFound):
            second.get(identity, owner)


def test_of_several_processes_one_leads_and_another_follows_when_it_ends(tmp_path: Path) -> None:
    first, second = store_of(tmp_path), store_of(tmp_path)
    order: list[str] = []

    def follow() -> None:
        with second.leading():
            order.append("second leads")

    with first.leading():
        follower = threading.Thread(target=follow)
        follower.start()
        follower.join(0.2)
        assert follower.is_alive()
        order.append("first ends")
    follower.join(10)
    assert order == ["first ends", "second leads"]


def test_a_leader_that_is_killed_is_followed_at_once(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    code = (
        "import sys, time, pathlib; from tests.bulk.jobs.test_sqlite_store import store_of\n"
        "with store_of(pathlib.Path(sys.argv[1])).leading(): print('leads', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "leads\n"
    process.kill()
    process.wait()
    process.stdout.close()
    with store.leading():
        published(store, 1)
        assert claimed(store).job.spec.id == f"{1:032x}"


def test_a_job_that_was_begun_goes_on_before_older_ones(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    jobs = [published(store, number, age_s=100 - number) for number in range(3)]
    assert claimed(store).job == jobs[0]
    begun = SqliteClaim(store, jobs[2])
    begun.save(jobs[2].status.model_copy(update={"state": "running"}))
    assert claimed(store).job == begun.job
    ended(begun)
    assert claimed(store).job == jobs[0]
    for job in jobs[:2]:
        ended(SqliteClaim(store, job))
    assert store.claim() is None


def test_a_claim_ends_with_its_job_and_takes_what_was_written_since_with_it(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    job = published(store, 1)
    claim = claimed(store)
    assert claim.holds()
    store.delete(job)
    (job.run.root / "parts").mkdir(parents=True)
    assert not claim.holds()
    with pytest.raises(Stopped):
        claim.save(JobStatus(state="running"))
    claim.release()
    assert (job.folder.exists(), store.of(None)) == (False, [])


def test_a_wait_ends_when_any_process_publishes_and_is_not_missed_before_it_begins(tmp_path: Path) -> None:
    leader, other = store_of(tmp_path), store_of(tmp_path)
    with leader.leading():
        published(other, 1)
        published(other, 2)
        begun = time.monotonic()
        leader.wait(20)
        assert time.monotonic() - begun < 10
        # Both wakes are taken.
        begun = time.monotonic()
        leader.wait(0.2)
        assert time.monotonic() - begun >= 0.2
        timer = threading.Timer(0.2, published, (other, 3))
        timer.start()
        begun = time.monotonic()
        leader.wait(20)
        assert 0.1 < time.monotonic() - begun < 10
        timer.join()


def test_a_wake_without_a_leader_does_nothing(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    for _ in range(3):
        store.wake()
    with store.leading():
        begun = time.monotonic()
        store.wait(0.2)
        assert time.monotonic() - begun >= 0.2


def test_so_many_jobs_are_kept_of_an_owner_and_in_all(tmp_path: Path) -> None:
    store = store_of(tmp_path, max_jobs=3, max_per_owner=2)
    for number, owner in enumerate(["anna", "anna", "ben"]):
        published(store, number, owner)
    with pytest.raises(TooManyJobs, match=r"^You already have 2 jobs, the maximum\.") as mine:
        store.require_room("anna")
    with pytest.raises(TooManyJobs, match=r"^The server already keeps 3 jobs, the maximum\.") as all_of_them:
        published(store, 4, "ben")
    assert (mine.value.limit, all_of_them.value.limit) == ("2 jobs", "3 jobs")
    assert sorted(folder.name for folder in tmp_path.iterdir() if folder.is_dir()) == [f"{n:032x}" for n in range(3)]


def used(store: SqliteStore) -> int:
    """Returns what the refusal of one more byte tells."""
    refusing = SqliteStore(store.root, JobLimits(1000, 1000, -1, DAY_S, DAY_S))
    with pytest.raises(StorageFull) as refusal:
        refusing.require_room(None)
    refusing.close()
    return int(refusal.value.message.split(" bytes")[0].rsplit(" ", 1)[1])


def test_room_counts_uploads_under_way_rows_of_a_running_job_and_what_is_left_of_ended_ones(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    job = published(store, 1)
    assert used(store) == 1000
    with store.incoming() as folder:
        (folder / "upload").write_bytes(b"x" * 300)
        assert used(store) == 1300
    claim = claimed(store)
    claim.save(JobStatus(state="running"))
    (job.run.root / "parts" / "000000.parquet").write_bytes(b"x" * 50)
    assert used(store) == 1050
    (job.run.root / "parts" / "000001.parquet").write_bytes(b"x" * 50)
    assert used(store) == 1100
    ended(claim)
    job.upload.unlink()
    claim.release()
    assert used(store) == 100
    store.delete(job)
    assert used(store) == 0


def test_jobs_that_have_expired_are_swept_and_others_stay(tmp_path: Path) -> None:
    store = store_of(tmp_path, ttl_s=60)
    jobs = [published(store, number, age_s=10 - number) for number in range(3)]
    for job, age_s in zip(jobs[:2], (61, 50), strict=True):
        ended(SqliteClaim(store, job), age_s)
    store.sweep()
    assert [job.spec.id for job in store.of(None)] == [job.spec.id for job in jobs[1:]]
    assert [job.folder.exists() for job in jobs] == [False, True, True]


def test_what_interrupted_uploads_deletions_and_publications_left_is_swept(tmp_path: Path) -> None:
    store = store_of(tmp_path, upload_s=60)
    kept = published(store, 1)
    fresh, old, going = (tmp_path / name for name in (".incoming-1", ".incoming-2", ".outgoing-3"))
    unknown, just_moved, older_release = (tmp_path / f"{number:032x}" for number in (7, 8, 9))
    for folder in (fresh, old, going, unknown, just_moved, older_release):
        folder.mkdir()
    (older_release / "job.json").write_text("{")
    for folder in (kept.folder, old, unknown, older_release):
        os.utime(folder, (time.time() - 61,) * 2)
    store.sweep()
    left = {folder for folder in tmp_path.iterdir() if folder.is_dir()}
    assert left == {kept.folder, fresh, just_moved, older_release}


def old_folder(root: Path, spec: JobSpec, status: JobStatus) -> Path:
    """Writes a job as release 0.1.0 kept it."""
    folder = root / spec.id
    (folder / "run" / "parts").mkdir(parents=True)
    (folder / "upload").write_bytes(b"x" * 1000)
    (folder / "job.json").write_text(spec.model_dump_json(indent=1))
    (folder / "status.json").write_text(status.model_dump_json(indent=1))
    return folder


def test_jobs_of_an_earlier_release_are_taken_over_once(tmp_path: Path) -> None:
    waiting, running, failed = (spec_of(number, "anna", age_s=10 - number) for number in range(3))
    how_far = JobStatus(state="running", images=200, done=64, failed=1, started=now(), starts=2)
    why = JobStatus(state="failed", ended=now(), error=JobError(code="scoring_refused", message="No image."))
    for spec, status in ((waiting, JobStatus()), (running, how_far), (failed, why)):
        old_folder(tmp_path, spec, status)
    store = store_of(tmp_path)
    assert [(job.spec, job.status) for job in store.of("anna")] == [
        (waiting, JobStatus()),
        (running, how_far),
        (failed, why),
    ]
    assert claimed(store).job.spec == running
    assert used(store) == 3000
    assert sorted(path.name for path in (tmp_path / waiting.id).iterdir()) == ["run", "upload"]
    # What happened since is not undone by another start.
    store.delete(store.get(failed.id, "anna"))
    claimed(store).save(how_far.model_copy(update={"done": 128}))
    again = store_of(tmp_path)
    assert [job.spec for job in again.of("anna")] == [waiting, running]
    assert again.get(running.id, "anna").status.done == 128


def test_a_take_over_that_was_interrupted_after_the_row_was_written_keeps_the_newer_status(tmp_path: Path) -> None:
    spec = spec_of(1)
    folder = old_folder(tmp_path, spec, JobStatus())
    content = {name: (folder / name).read_text() for name in ("job.json", "status.json")}
    claimed(store_of(tmp_path)).save(JobStatus(state="running", done=64))
    for name, text in content.items():
        (folder / name).write_text(text)
    assert store_of(tmp_path).get(spec.id, None).status.done == 64
    assert not (folder / "job.json").exists()


@pytest.mark.parametrize("damaged", ["{", json.dumps({"id": "x"}), ""])
def test_a_damaged_job_of_an_earlier_release_is_left_alone(tmp_path: Path, damaged: str) -> None:
    folder = old_folder(tmp_path, spec_of(1), JobStatus())
    (folder / "status.json").write_text(damaged)
    store = store_of(tmp_path)
    assert (store.of(None), store.claim()) == ([], None)
    assert (folder / "upload").exists()


def test_two_processes_that_publish_at_once_keep_to_the_limit(tmp_path: Path) -> None:
    stores = [store_of(tmp_path, max_jobs=5) for _ in range(2)]
    refused = refused_of_twenty(stores)
    assert (len(stores[0].of(None)), len(refused)) == (5, 15)


def test_the_directory_is_for_nobody_else(tmp_path: Path) -> None:
    assert store_of(tmp_path / "jobs").root.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("what", ["a file in place of the folder", "no database"])
def test_a_directory_that_cannot_be_used_stops_the_start(tmp_path: Path, what: str) -> None:
    root = tmp_path / "jobs"
    if what == "no database":
        root.mkdir()
        (root / "jobs.sqlite3").write_bytes(b"This is text, and more than a hundred bytes of it." * 4)
    else:
        root.write_text("x")
    with pytest.raises(InvalidSettings, match=r"BRAINMRI_JOBS_DIR=.* on a local disk"):
        store_of(root)


def test_a_folder_that_vanishes_is_told_and_one_in_its_place_is_used_from_then_on(tmp_path: Path) -> None:
    store = store_of(tmp_path / "jobs")
    published(store, 1)
    with store.leading():
        assert store.claim() is not None
        (tmp_path / "jobs").rename(tmp_path / "away")
        with pytest.raises(OSError, match="unable to open database file"):
            store.of(None)
        with pytest.raises(OSError, match="removed or replaced"):
            store.claim()
        (tmp_path / "jobs").mkdir()
        assert store.of(None) == []
        job = published(store, 2)
        with pytest.raises(OSError, match="removed or replaced"):
            store.claim()
    with store.leading():
        assert claimed(store).job.spec == job.spec
    # What another process sees, and the next start.
    assert [kept.spec for kept in store_of(tmp_path / "jobs").of(None)] == [job.spec]


def test_a_database_without_room_refuses_a_job_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    job = published(store, 1)
    with store._database.reading() as connection:
        connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
    with store.incoming() as folder, pytest.raises(StorageFull, match="has no room for another job"):
        store.publish(folder, spec_of(2, "o" * 100_000))
    assert store.of("o" * 100_000) == []
    assert store.of(None) == [job]
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".incoming")] == []
