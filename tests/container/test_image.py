"""What is in the image, and what is not."""

import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.container.engine import BUILD_S, Engine

pytestmark = [pytest.mark.slow, pytest.mark.container, pytest.mark.timeout(3 * BUILD_S)]

MAX_BYTES = 700_000_000
# A shell, compilers, package managers, and what fetches files.
UNWANTED = re.compile(r"(ba|da)?sh|perl.*|gcc.*|cc|g\+\+.*|ld|make|apt.*|dpkg.*|pip[\d.]*|uv|curl|wget|su|sudo|mount")


@pytest.fixture(scope="module")
def inspected(engine: Engine, image: str) -> dict[str, Any]:
    """What the engine knows about the image."""
    (found,) = json.loads(engine.run("podman", "image", "inspect", image))
    return dict(found)


@pytest.fixture(scope="module")
def root(engine: Engine, image: str) -> Iterator[Path]:
    """The image's files."""
    yield Path(engine.run("podman", "image", "mount", image))
    engine.run("podman", "image", "unmount", image)


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if not path.is_symlink() and path.is_file())


def installed(root: Path) -> dict[str, str]:
    """Returns the versions of the Python packages, by their names as indices write them."""
    folders = (root / "opt" / "venv" / "lib").glob("python3*/site-packages/*.dist-info")
    parts = [folder.name.removesuffix(".dist-info").partition("-") for folder in folders]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in parts}


def test_it_is_small(inspected: dict[str, Any]) -> None:
    assert inspected["Size"] <= MAX_BYTES


def test_it_runs_as_a_numeric_user_and_tells_how_it_is(inspected: dict[str, Any]) -> None:
    config = inspected["Config"]
    assert config["User"] == "1034:1034"
    assert config["Entrypoint"][-2:] == ["-m", "brainmri"]
    assert config["Cmd"] == ["serve"]
    assert config["StopSignal"] == "SIGTERM"
    assert set(config["ExposedPorts"]) == {"3000/tcp", "3001/tcp"}
    assert inspected["Healthcheck"]["Test"][-1] == "/app/healthcheck.py"
    assert "BENTOML_DO_NOT_TRACK=True" in config["Env"]


def test_its_labels_tell_what_it_was_made_of(inspected: dict[str, Any], engine: Engine, base: str) -> None:
    labels = inspected["Labels"]
    name = "org.opencontainers.image."
    commit = labels[name + "revision"].removesuffix("-dirty")
    assert labels[name + "created"] == engine.run("git", "log", "-1", "--format=%cI", commit)
    assert labels[name + "base.name"] == base
    assert labels[name + "licenses"] == "Apache-2.0"
    assert re.fullmatch(r"\d+\.\d+\.\d+", labels[name + "version"])
    assert "never a diagnosis" in labels[name + "description"]


def test_it_holds_no_program_that_an_intruder_could_use(root: Path) -> None:
    programs = {path.name for folder in ("usr/bin", "usr/sbin", "opt/venv/bin") for path in (root / folder).iterdir()}
    assert "python3" in programs
    assert [name for name in sorted(programs) if UNWANTED.fullmatch(name)] == []
    risky = [path for path in files(root) if path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)]
    assert risky == []


def test_it_holds_no_training_and_no_tests(root: Path) -> None:
    assert {path.name for path in (root / "app").iterdir()} == {
        "LICENSE",
        "brainmri",
        "healthcheck.py",
        "models",
        "sbom.cdx.json",
        "service.py",
    }
    assert {"bentoml", "openvino"} <= set(installed(root))
    assert {"tensorflow", "keras", "scikit-learn", "pytest", "pip"} & set(installed(root)) == set()


def test_byte_code_lies_ready_for_everything_and_nowhere_else(root: Path) -> None:
    sources = [path for path in files(root / "app" / "brainmri") if path.suffix == ".py"]
    compiled = root / "opt" / "pycache" / "app" / "brainmri"
    assert len(list(compiled.rglob("*.pyc"))) == len(sources)
    # Bit 0: checked by hash, not by time; bit 1: compared with the source at run time, which this is not.
    assert {path.read_bytes()[4:8] for path in compiled.rglob("*.pyc")} == {b"\x01\0\0\0"}
    assert [path for path in files(root) if path.suffix == ".pyc" and "pycache" not in path.parts[:-1]] == []


def test_the_bill_of_materials_lists_what_is_installed(root: Path) -> None:
    bill = json.loads((root / "app" / "sbom.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "brainmri"
    listed = {re.sub(r"[-_.]+", "-", part["name"]).lower(): part["version"] for part in bill["components"]}
    assert listed == installed(root)
    # Debian's packages are told where scanners look for them in images without dpkg.
    debian = {path.name for path in (root / "var" / "lib" / "dpkg" / "status.d").iterdir()}
    assert {"libc6", "libssl3", "python3.11-minimal"} <= debian
    assert {"dpkg", "perl-base"} & debian == set()


def test_the_same_commit_makes_the_same_image(engine: Engine, base: str, inspected: dict[str, Any]) -> None:
    name = "localhost/brainmri-test-again"
    engine.run("container/build.sh", "--no-cache", BASE=base, IMAGE=name, timeout_s=BUILD_S)
    (again,) = json.loads(engine.run("podman", "image", "inspect", name))
    for part in ("RootFS", "Config", "Healthcheck", "Created", "Size"):
        assert again[part] == inspected[part]
