"""The requirements with hashes that image and Bento install are those of the lock."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.servers import ROOT

pytestmark = pytest.mark.slow

FILES = ("requirements.txt", "requirements-sbom.txt")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make requirements` writes now, in a folder aside."""
    folder = tmp_path_factory.mktemp("requirements")
    command = ["make", "--no-print-directory", "requirements", f"REQUIREMENTS={folder}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", FILES)
def test_they_are_what_the_lock_says(exported: Path, name: str) -> None:
    current = (exported / name).read_text()
    assert (ROOT / "container" / name).read_text() == current, "Run: make requirements"


@pytest.mark.parametrize("name", FILES)
def test_every_one_is_pinned_with_hashes(name: str) -> None:
    requirements = re.sub(r" \\\n\s*", " ", (ROOT / "container" / name).read_text()).splitlines()
    assert len(requirements) > 20
    pinned = re.compile(r"[\w.-]+==[\w.!+]+( ; .+?)?( --hash=sha256:[0-9a-f]{64})+")
    assert [line for line in requirements if not pinned.fullmatch(line)] == []


def test_the_image_writes_dicom_results() -> None:
    text = (ROOT / "container" / "requirements.txt").read_text()
    assert {"highdicom", "pynetdicom"} <= {line.partition("==")[0] for line in text.splitlines()}


def test_serving_brings_no_training() -> None:
    text = (ROOT / "container" / "requirements.txt").read_text()
    names = {line.partition("==")[0] for line in text.splitlines() if "==" in line}
    assert {"bentoml", "openvino"} <= names
    assert {"tensorflow", "keras", "torch", "scikit-learn", "matplotlib", "pytest"} & names == set()
