"""The init container that fetches a model: only what has the right hash gets into the pod."""

import hashlib
import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from brainmri.bundle import Bundle
from k8s.checks.builds import FOLDER
from tests.e2e.servers import run_to_the_end

SCRIPT = FOLDER / "components" / "model-volume" / "fetch_model.py"
CONTENT = b"a model" * 1000
RIGHT = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def fetch_model() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch_model", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    file = tmp_path / "a.bentomodel"
    file.write_bytes(CONTENT)
    return file


def test_a_file_with_the_right_hash_is_copied(fetch_model: ModuleType, archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "home" / "model"
    fetch_model.fetch(str(archive), RIGHT, target)
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("source", "sha256", "limit", "said"),
    [
        ("{}", "0" * 64, 10**6, f"has the SHA-256 {RIGHT}; MODEL_SHA256 says 000"),
        ("{}", RIGHT, len(CONTENT) - 1, "more than 6999 bytes"),
        ("{}", RIGHT.upper(), 10**6, "64 hexadecimal digits in lower case"),
        ("{}x", RIGHT, 10**6, "cannot be fetched"),
        ("http://127.0.0.1/model", RIGHT, 10**6, "a path or an https address, not http"),
        ("file://{}", RIGHT, 10**6, "a path or an https address, not file"),
    ],
)
def test_anything_else_leaves_nothing_behind(
    source: str, sha256: str, limit: int, said: str, fetch_model: ModuleType, archive: Path, tmp_path: Path
) -> None:
    target = tmp_path / "home" / "model"
    with pytest.raises(fetch_model.Refused, match=said):
        fetch_model.fetch(source.format(archive), sha256, target, limit)
    assert not target.parent.exists() or list(target.parent.iterdir()) == []


def test_the_query_of_a_presigned_address_is_a_secret(
    fetch_model: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(url: str, timeout: float) -> io.BytesIO:
        asked.append(url)
        return io.BytesIO(CONTENT)

    monkeypatch.setattr(fetch_model.urllib.request, "urlopen", answer)
    address = "https://store.example.com/model?X-Signature=secret"
    fetch_model.fetch(address, RIGHT, tmp_path / "model")
    assert asked == [address]
    assert (tmp_path / "model").read_bytes() == CONTENT
    with pytest.raises(fetch_model.Refused) as refused:
        fetch_model.fetch(address, "0" * 64, tmp_path / "other")
    assert "secret" not in str(refused.value)
    assert "https://store.example.com/model has" in str(refused.value)


def run(variables: dict[str, str], destination: Path) -> subprocess.CompletedProcess[str]:
    """Runs the script as the init container does."""
    return subprocess.run(
        [sys.executable, "-I", str(SCRIPT), str(destination)],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_exported_model_goes_the_whole_way_into_the_store(tiny_bundle: Bundle, tmp_path: Path) -> None:
    def brainmri(home: str, *arguments: str) -> str:
        done = run_to_the_end(["brainmri", *arguments], {**os.environ, "BENTOML_HOME": str(tmp_path / home)})
        assert done.returncode == 0, done.stderr
        return done.stdout

    tag = brainmri("registry", "models", "import", str(tiny_bundle.folder)).strip()
    archive = tmp_path / "model.bentomodel"
    brainmri("registry", "models", "export", tag, str(archive))
    arrived = tmp_path / "pod" / "incoming" / "model.bentomodel"
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    done = run({"MODEL_SOURCE": str(archive), "MODEL_SHA256": sha256}, arrived)
    assert (done.returncode, done.stderr) == (0, "")
    assert brainmri("pod", "models", "import", str(arrived)).strip() == tag


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"MODEL_SOURCE": "/dev/null", "MODEL_SHA256": "0" * 64}, "One of them is wrong.\n"),
        ({"MODEL_SOURCE": "/dev/null"}, "The environment variable 'MODEL_SHA256' is not set.\n"),
    ],
)
def test_a_pod_without_its_model_does_not_start(variables: dict[str, str], said: str, tmp_path: Path) -> None:
    done = run(variables, tmp_path / "model")
    assert done.returncode == 1
    assert done.stderr.endswith(said)
    assert done.stderr.count("\n") == 1


def test_the_hash_that_is_shipped_fits_no_file(fetch_model: ModuleType) -> None:
    lines = (SCRIPT.parent / "model.env").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    assert values.keys() == {fetch_model.SOURCE, fetch_model.SHA256}
    assert values[fetch_model.SHA256] == "0" * 64
