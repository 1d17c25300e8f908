"""The Deployment as a cluster would run it, by podman: environment, security, init containers, memory, the end."""

import copy
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from brainmri.model.bundle import Bundle
from k8s.checks.builds import CannotBuild, require_kubectl, with_components
from tests.container.engine import START_S, Engine
from tests.e2e.servers import run_to_the_end

pytestmark = [pytest.mark.slow, pytest.mark.container, pytest.mark.timeout(2400)]

POD = "brainmri-pod-0"
SERVER = f"{POD}-server"
CLAIM = "brainmri-test-models"

ASK = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen('http://127.0.0.1:3000' + sys.argv[1]).read().decode(), end='')
except urllib.error.HTTPError as error:
    print(error.code, end='')
except OSError:
    print('nobody', end='')
"""


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    """The Deployment that takes its model from a volume, and the ConfigMaps."""
    if shutil.which("catatonit") is None:
        pytest.skip("podman needs catatonit for pods; .ci/run installs it")
    try:
        require_kubectl()
    except CannotBuild as error:
        pytest.skip(str(error))
    return [dict(m.body) for m in with_components(("model-volume",)) if m.kind in ("ConfigMap", "Deployment")]


@pytest.fixture
def archive(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A model of another version than the image's, exported."""
    environ = {**os.environ, "BENTOML_HOME": str(tmp_path / "home")}
    file = tmp_path / "tiny.bentomodel"
    for arguments in (("import", str(tiny_bundle.folder)), ("export", tiny_bundle.contract.tag, str(file))):
        done = run_to_the_end(["brainmri", "models", *arguments], environ)
        assert done.returncode == 0, done.stderr
    return file


def adapted(manifests: list[dict[str, Any]], image: str, settings: dict[str, str]) -> list[dict[str, Any]]:
    """Returns the manifests with an image of this machine, and settings in whichever ConfigMap has them."""
    bodies = copy.deepcopy(manifests)
    for body in bodies:
        if body["kind"] == "ConfigMap":
            body["data"] |= {name: value for name, value in settings.items() if name in body["data"]}
            continue
        spec = body["spec"]["template"]["spec"]
        # With a policy that starts containers again, podman 4.3 starts init containers again that have succeeded.
        spec["restartPolicy"] = "Never"
        for claimed in (one for one in spec["volumes"] if "persistentVolumeClaim" in one):
            claimed["persistentVolumeClaim"]["claimName"] = CLAIM
        for container in (*spec["initContainers"], *spec["containers"]):
            container["image"] = image
            # Without a network, so that nobody else can reach it, there are no ports to map.
            container.pop("ports", None)
    return bodies


@contextmanager
def claim_with(engine: Engine, file: Path) -> Iterator[None]:
    """The claim that models are taken from, with one file in it."""
    remove_volume(engine, CLAIM)
    engine.run("podman", "volume", "create", CLAIM)
    try:
        place = Path(engine.run("podman", "volume", "inspect", "--format", "{{.Mountpoint}}", CLAIM))
        (place / file.name).write_bytes(file.read_bytes())
        yield
    finally:
        remove_volume(engine, CLAIM)


def remove_volume(engine: Engine, name: str) -> None:
    """Removes a volume, and the containers that use it, if there is one."""
    if engine.attempt("podman", "volume", "exists", name).returncode == 0:
        engine.run("podman", "volume", "rm", "--force", name)


@contextmanager
def played(engine: Engine, bodies: list[dict[str, Any]], folder: Path) -> Iterator[str]:
    """Yields what podman says when it is given the manifests."""
    file = folder / "play.yaml"
    file.write_text(yaml.safe_dump_all(bodies))
    # A run that was killed has left everything behind.
    take_down(engine, bodies)
    done = engine.attempt("podman", "play", "kube", "--network=none", str(file), timeout_s=START_S)
    try:
        yield done.stdout + done.stderr
    finally:
        take_down(engine, bodies)


def take_down(engine: Engine, bodies: list[dict[str, Any]]) -> None:
    """Removes the pod, and the volumes that podman makes of ConfigMaps, which would be in the way of the next one."""
    if engine.attempt("podman", "pod", "exists", POD).returncode == 0:
        engine.run("podman", "pod", "stop", "--time", "30", POD)
        engine.run("podman", "pod", "rm", POD)
    for body in bodies:
        remove_volume(engine, body["metadata"]["name"])


def ask(engine: Engine, path: str) -> str:
    """Returns what the server answers inside its pod, or the status of a refusal."""
    return engine.attempt("podman", "exec", SERVER, "python", "-c", ASK, path).stdout


def inspected(engine: Engine, what: str) -> str:
    return engine.run("podman", "inspect", "--format", what, SERVER)


def wait_for_model(engine: Engine, version: str, said: str) -> None:
    assert "exited with code" not in said, said
    assert engine.attempt("podman", "container", "exists", SERVER).returncode == 0, said
    end = time.monotonic() + START_S
    while f'"version":"{version}"' not in ask(engine, "/model").replace(" ", ""):
        log = engine.attempt("podman", "logs", SERVER)
        assert time.monotonic() < end, f"{said}\n{log.stdout}{log.stderr}"
        time.sleep(0.5)


def test_a_pod_serves_the_model_of_its_volume_and_ends_in_order(
    engine: Engine, image: str, manifests: list[dict[str, Any]], archive: Path, tmp_path: Path
) -> None:
    settings = {
        "MODEL_SOURCE": f"/models/{archive.name}",
        "MODEL_SHA256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "BRAINMRI_MODELS": "brain_mri_xception:0.0.1",
    }
    with (
        claim_with(engine, archive),
        played(engine, adapted(manifests, image, settings), tmp_path) as said,
    ):
        wait_for_model(engine, "0.0.1", said)
        # Two CPUs are requested, whatever this machine has.
        assert 'brainmri_runtime_threads{name="brain_mri_xception",runtime="openvino-f32",version="0.0.1"} 2.0' in ask(
            engine, "/metrics"
        )
        assert inspected(engine, "{{.HostConfig.ReadonlyRootfs}} {{.EffectiveCaps}}") == "true []"
        assert inspected(engine, "{{.HostConfig.Memory}}") == str(2 * 2**30)
        assert engine.run("podman", "exec", SERVER, "python", "-c", "import os; print(os.getuid())") == "1034"
        engine.run("podman", "stop", "--time", "90", SERVER)
        assert inspected(engine, "{{.State.ExitCode}}") == "0"


def test_a_pod_whose_model_has_another_hash_does_not_start(
    engine: Engine, image: str, manifests: list[dict[str, Any]], archive: Path, tmp_path: Path
) -> None:
    settings = {"MODEL_SOURCE": f"/models/{archive.name}", "BRAINMRI_MODELS": "brain_mri_xception:0.0.1"}
    with (
        claim_with(engine, archive),
        played(engine, adapted(manifests, image, settings), tmp_path) as said,
    ):
        fetched = engine.attempt("podman", "logs", f"{POD}-fetch-model")
        assert fetched.stderr.endswith(f"MODEL_SHA256 says {'0' * 64}. One of them is wrong.\n"), said
        assert inspected(engine, "{{.State.Status}}") == "created"
