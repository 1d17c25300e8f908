"""What pods run, run here: the server with the settings of its ConfigMap, the scoring job with its own arguments."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyarrow import parquet

from k8s.checks.builds import Build
from k8s.checks.environment import environment, ours
from k8s.checks.manifest import Pod
from tests.e2e.servers import Server, run_to_the_end, serving
from tests.k8s.conftest import Builder
from tests.tiny import write_tiny_bundle

ADDRESSES = ("host", "port", "bundles", "api_keys_file")
"""Settings that only a pod can have; a test has free ports and folders of its own."""


def settings(build: Build, pod: Pod) -> dict[str, str]:
    """Returns the settings of a pod's first container, as a test can have them."""
    variables = ours(environment(build, pod.main[0]))
    named = {name.removeprefix("BRAINMRI_").lower(): value for name, value in variables.items()}
    return {name: value for name, value in named.items() if not name.endswith(ADDRESSES)}


@pytest.fixture(scope="module")
def pod(built: Builder) -> Pod:
    (server,) = (pod for pod in built("overlays/production").pods() if pod.serves)
    return server


@pytest.fixture(scope="module")
def server(built: Builder, pod: Pod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("pod"), **settings(built("overlays/production"), pod)) as running:
        yield running


def test_the_server_starts_with_the_settings_of_production_and_answers(
    server: Server, png: Callable[..., bytes]
) -> None:
    answer = server.client.post("/predict", files={"image": png((255, 0, 0))})
    assert (answer.status_code, answer.json()["label"]) == (200, "glioma")
    assert '"level":"INFO"' in server.log


@pytest.mark.parametrize("name", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_each_probe_is_answered_with_200(name: str, server: Server, pod: Pod) -> None:
    asked: dict[str, Any] = pod.main[0][name]
    path, seconds = asked["httpGet"]["path"], asked["timeoutSeconds"]
    assert httpx.get(server.client.base_url.join(path), timeout=seconds, trust_env=False).status_code == 200


def test_what_prometheus_scrapes_is_there(server: Server, built: Builder) -> None:
    (monitor,) = built("monitoring").of_kind("ServiceMonitor")
    (endpoint,) = monitor.spec["endpoints"]
    assert "brainmri_ready 1.0" in server.client.get(endpoint["path"]).text


def test_the_scoring_job_scores_every_image_once(built: Builder, png: Callable[..., bytes], tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(5):
        (scans / f"{number}.png").write_bytes(png((51 * number, 0, 0)))
    write_tiny_bundle(tmp_path / "models" / "brain_mri_xception", tmp_path)
    folders = {"/scans": str(scans), "/results/run": str(tmp_path / "run")}

    def pod_of(build: str, index: int = 0, shares: int = 1) -> subprocess.CompletedProcess[str]:
        (job,) = built(build).pods()
        replaced = {**folders, "$(JOB_COMPLETION_INDEX)": str(index), "8": str(shares)}
        arguments = [replaced.get(argument, argument) for argument in job.main[0]["args"]]
        variables = {
            **os.environ,
            **ours(environment(built(build), job.main[0])),
            "BRAINMRI_BUNDLES": str(tmp_path / "models"),
            "BENTOML_HOME": str(tmp_path / f"home-{build.replace('/', '-')}-{index}"),
        }
        return run_to_the_end(["brainmri", *arguments], variables)

    for index in range(2):
        done = pod_of("jobs/score", index, shares=2)
        assert done.returncode == 0, done.stderr
    done = pod_of("jobs/score-merge")
    assert done.returncode == 0, done.stderr
    rows = parquet.read_table(tmp_path / "run" / "results.parquet").to_pylist()
    assert sorted(Path(row["path"]).name for row in rows) == [f"{number}.png" for number in range(5)]
    assert {row["status"] for row in rows} == {"ok"}
