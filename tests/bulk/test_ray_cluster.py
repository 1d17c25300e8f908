"""The RayJob's program on a cluster on this host: a head without CPUs, and two workers of which one is killed."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from ray.cluster_utils import Cluster

from tests.bulk.kills import ROOT
from tests.bulk.stand_in import BLACK, BLUE, GREEN, RED, picture
from tests.tiny import write_tiny_bundle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]

IMAGES, SHARD = 2000, 8
COLOURS = (RED, GREEN, BLUE, BLACK)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """As the RayJob has it: the head schedules nothing, and each worker has the CPUs of two actors."""
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 100 * 2**20}, shutdown_at_exit=False
    )
    try:
        yield cluster
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


def prepared(folder: Path) -> dict[str, str]:
    """Writes a bundle and the images, some of them damaged; returns the environment of the command."""
    write_tiny_bundle(folder / "models" / "brain_mri_xception", folder, novelty_threshold=1.0)
    (folder / "scans").mkdir()
    for number in range(IMAGES):
        data = b"damaged" if number % 97 == 3 else picture(COLOURS[number % 4])
        (folder / "scans" / f"{number:05d}.png").write_bytes(data)
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BENTOML_HOME": str(folder / "home"),
        "BRAINMRI_BUNDLES": str(folder / "models"),
        "BRAINMRI_THREADS": "2",
        "BRAINMRI_DECODE_WORKERS": "2",
    }


def program(folder: Path) -> list[str]:
    """Returns the RayJob's entry point, with this test's folders in place of the volumes."""
    job = yaml.safe_load((ROOT / "k8s" / "jobs" / "ray" / "ray-job.yaml").read_text())
    python, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert python == "python"
    here = {"/scans": str(folder / "scans"), "/results/run-ray": str(folder / "run-ray")}
    return [sys.executable, *(here.get(argument, argument) for argument in arguments)]


def rows(run: Path) -> object:
    return pq.read_table(run / "results.parquet").drop_columns(["scored_at"])


def test_a_node_that_is_killed_amid_the_rayjobs_run_costs_no_row(tmp_path: Path, cluster: Cluster) -> None:
    environment = prepared(tmp_path)
    shard = ["--shard-size", str(SHARD)]
    nodes = [cluster.add_node(num_cpus=4, object_store_memory=100 * 2**20) for _ in range(2)]
    command = program(tmp_path)
    parts = tmp_path / "run-ray" / "parts"
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [*command, *shard], env={**environment, "RAY_ADDRESS": cluster.address}, stdout=log, stderr=log
        ) as process,
    ):
        try:
            while process.poll() is None and len(list(parts.glob("[0-9]*.parquet"))) < 3:
                time.sleep(0.05)
            stored = len(list(parts.glob("[0-9]*.parquet")))
            cluster.remove_node(nodes[0], allow_graceful=False)
            process.wait(timeout=600)
        finally:
            process.kill()
    text = (tmp_path / "log").read_text()
    assert process.returncode == 0, text
    assert 3 <= stored < IMAGES // SHARD, "The node was killed after the run"
    local = [sys.executable, "-m", "brainmri", "score", str(tmp_path / "scans"), "--out", str(tmp_path / "local")]
    subprocess.run([*local, *shard], env=environment, check=True, capture_output=True)
    assert rows(tmp_path / "run-ray") == rows(tmp_path / "local")
