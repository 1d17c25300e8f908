"""Jobs of two servers that share a PostgreSQL and a folder."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.bulk.test_archives import packed_zip
from tests.e2e.servers import Server, serving
from tests.e2e.test_bulk import Png, job, many, until
from tests.postgres import Cluster
from tests.tiny import write_tiny_bundle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def replicas(postgres: Cluster, tmp_path: Path) -> Iterator[list[Server]]:
    shared = {"jobs_dir": str(tmp_path / "jobs"), "jobs_database": postgres.database()}
    # One release of the model, as replicas have it.
    write_tiny_bundle(tmp_path / "models" / "brain_mri_xception", tmp_path)
    with ExitStack() as running:
        servers = []
        for name in ("one", "two"):
            shutil.copytree(tmp_path / "models", tmp_path / name / "models")
            servers.append(running.enter_context(serving(tmp_path / name, bulk_images=1, **shared)))
        yield servers


def test_a_job_is_seen_at_another_replica_and_cancelled_there(replicas: list[Server], png: Png) -> None:
    one, two = replicas
    identity = one.client.post("/jobs", content=many(png, 2000)).json()["id"]
    assert [made["id"] for made in two.client.get("/jobs").json()["jobs"]] == [identity]
    until(two.client, identity, "running")
    assert two.client.delete(f"/jobs/{identity}").status_code == 204
    assert one.client.get(f"/jobs/{identity}").status_code == 404
    # The runner has stopped: another job gets its turn, and either replica sends its rows.
    small = two.client.post("/jobs", content=packed_zip({"a.png": png((255, 0, 0))})).json()["id"]
    until(one.client, small, "succeeded")
    rows = [server.client.get(f"/jobs/{small}/results").text for server in replicas]
    assert rows[0] == rows[1]
    assert json.loads(rows[0])["path"] == "a.png"


def test_a_job_whose_replica_is_frozen_goes_on_at_another_and_has_each_row_once(
    replicas: list[Server], png: Png
) -> None:
    count = 600
    identity = replicas[0].client.post("/jobs", content=many(png, count)).json()["id"]
    until(replicas[0].client, identity, "running")
    runner, other = _by_role(replicas, identity)
    runner.until(lambda: job(other.client, identity)["done"] >= 64, "a shard is stored")
    # Frozen, it believes to hold the job; and wakes up after another has taken it over.
    family = [runner.process.pid, *(child.pid for child in psutil.Process(runner.process.pid).children(recursive=True))]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        before = job(other.client, identity)
        assert before["state"] == "running"
        other.until(lambda: f"Job {identity[:8]} begins" in other.log, "another replica takes the job over")
    finally:
        for pid in family:
            os.kill(pid, signal.SIGCONT)
    ended = until(other.client, identity, "succeeded")
    assert (ended["images"], ended["done"], ended["failed"]) == (count, count, 0)
    for server in replicas:
        rows = [json.loads(line) for line in server.client.get(f"/jobs/{identity}/results").text.splitlines()]
        assert [row["path"] for row in rows] == [f"{number:04d}.png" for number in range(count)]


def _by_role(replicas: list[Server], identity: str) -> tuple[Server, Server]:
    """Returns who runs a job, and who does not."""
    one, two = replicas
    begun = f"Job {identity[:8]} begins"
    one.until(lambda: begun in one.log or begun in two.log, "a replica runs the job")
    return (one, two) if begun in one.log else (two, one)
