"""`make bento` out of an empty home, and `bentoml serve brainmri:latest`."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from benchmarks.pictures import pictures
from tests.e2e.servers import END_S, ROOT, START_S, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * START_S)]


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with an empty home and free ports."""
    folder = tmp_path_factory.mktemp("bento")
    return {**environment(folder), "PYTHONPATH": str(folder / "blocked")}


@pytest.fixture(scope="module")
def bento(environ: dict[str, str]) -> Path:
    """The Bento's folder."""
    # The environment that runs the tests builds it, not the one of `make serve`.
    command = ["make", "--no-print-directory", "bento", f"BENTO_PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=START_S, check=False)
    assert done.returncode == 0, done.stderr
    folder = Path(environ["BENTOML_HOME"]) / "bentos" / "brainmri"
    return folder / (folder / "latest").read_text()


def test_it_holds_what_serving_imports_and_nothing_else(bento: Path) -> None:
    source = bento / "src"
    assert {path.name for path in source.iterdir()} == {"LICENSE", "bentofile.yaml", "brainmri", "service.py"}
    held = {path.relative_to(source).as_posix() for path in (source / "brainmri").rglob("*") if path.is_file()}
    files = (path for path in (ROOT / "brainmri").rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    ours = {path.relative_to(ROOT).as_posix() for path in files}
    assert held == ours


def test_it_names_the_released_model(bento: Path) -> None:
    (service,) = yaml.safe_load((bento / "bento.yaml").read_text())["services"]
    contract = yaml.safe_load((ROOT / "models" / "brain_mri_xception" / "contract.json").read_text())
    assert [model["tag"] for model in service["models"]] == [f"brain_mri_xception:{contract['version']}"]


def test_its_requirements_are_the_locked_ones_with_their_hashes(bento: Path) -> None:
    locked = (ROOT / "container" / "requirements.txt").read_text()
    frozen = (bento / "env" / "python" / "requirements.txt").read_text()
    hashes = re.compile(r"--hash=sha256:[0-9a-f]{64}")
    assert hashes.findall(frozen) == hashes.findall(locked)
    pinned = re.compile(r"^[\w.-]+==[\w.!+]+", re.MULTILINE)
    # BentoML adds itself once more.
    assert set(pinned.findall(frozen)) == set(pinned.findall(locked))


@pytest.fixture
def served(bento: Path, environ: dict[str, str], tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of `bentoml serve brainmri:latest`, run from a folder that holds nothing of ours."""
    assert bento.is_dir()
    command = ["-m", "bentoml", "serve", "brainmri:latest", "--host", "127.0.0.1"]
    port = environ["BRAINMRI_HTTP_PORT"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", *command, "--port", port],
            cwd=tmp_path,
            env=environ,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            until_ready(client, process)
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=END_S)
    assert status == 0, (tmp_path / "log").read_text()


def until_ready(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    for _ in range(START_S * 5):
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            assert process.poll() is None, "bentoml serve has ended"
        time.sleep(0.2)
    pytest.fail("bentoml serve never became ready")


def test_bentoml_serves_it(served: httpx.Client) -> None:
    image = pictures(1, 512)[1][0]
    answer = served.post("/predict", content=image, headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 200
    assert sum(answer.json()["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert answer.json()["model"]["version"] == served.get("/model").json()["version"] != "0.0.1"
