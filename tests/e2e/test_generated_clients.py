"""Clients that generators make of the document: every operation is there, and they predict a slice at a real server."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.servers import ROOT, Server, serving

pytestmark = pytest.mark.slow

GUIDE = ROOT / "docs" / "clients.md"
PACKAGES = ("openapi-typescript@7.13.0", "typescript@5.9.3", "@types/node@20.19.25")
TIMEOUT_S = 240


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def workplace(server: Server, tmp_path: Path, png: Callable[..., bytes]) -> Path:
    """A folder with the document and a slice, which is black."""
    (tmp_path / "docs.json").write_text(server.client.get("/docs.json").text)
    (tmp_path / "slice.jpg").write_bytes(png((0, 0, 0)))
    return tmp_path


def operations(folder: Path) -> list[dict[str, Any]]:
    document = json.loads((folder / "docs.json").read_text())
    return [operation for path in document["paths"].values() for operation in path.values()]


def example(language: str, server: Server) -> str:
    """Returns the guide's program, which asks the test's server."""
    (program,) = re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    assert program.count("http://localhost:3000") == 1
    return str(program).replace("http://localhost:3000", str(server.client.base_url).rstrip("/"))


def run(folder: Path, *command: str) -> str:
    """Runs a program in the folder to a good end, and returns all that it said."""
    environ = {**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout.lower(), done.stdout
    return done.stdout


def test_a_python_client_has_every_operation_and_predicts_a_slice(workplace: Path, server: Server) -> None:
    configuration = ROOT / "docs" / "openapi-python-client.yaml"
    generate = [sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning", "--meta", "none"]
    run(workplace, *generate, "--path", "docs.json", "--config", str(configuration), "--output-path", "brainmri_client")
    made = {path.stem for path in (workplace / "brainmri_client" / "api").glob("*/*.py")} - {"__init__"}
    assert made == {operation["operationId"] for operation in operations(workplace)}
    assert run(workplace, sys.executable, "-c", example("python", server)) == "notumor\n"


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node.js with npm")
@pytest.mark.timeout(3 * TIMEOUT_S)
def test_typescript_has_every_operation_and_predicts_a_slice(workplace: Path, server: Server) -> None:
    run(workplace, "npm", "install", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error", *PACKAGES)
    binaries = workplace / "node_modules" / ".bin"
    run(workplace, str(binaries / "openapi-typescript"), "docs.json", "--output", "brainmri.d.ts")
    types = (workplace / "brainmri.d.ts").read_text()
    made = set(re.findall(r"^    (\w+): \{$", types.partition("export interface operations {")[2], re.MULTILINE))
    assert made == {operation["operationId"] for operation in operations(workplace)}
    (workplace / "predict.mts").write_text(example("typescript", server))
    run(workplace, str(binaries / "tsc"), "--strict", "--target", "es2022", "--module", "nodenext", "predict.mts")
    assert run(workplace, "node", "predict.mjs") == "notumor\n"
