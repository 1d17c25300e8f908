"""Every DICOM file of pydicom's packages, and thousands of damaged files, through a server and `brainmri score`."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from brainmri.imaging import DecodeLimits
from tests.e2e.servers import Server, serving
from tests.imaging.mutations import mutated, originals
from tests.imaging.test_pydicom_files import files, outcome

pytestmark = pytest.mark.slow

DAMAGED = 2_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("dicom"), max_image_bytes=DecodeLimits().max_bytes) as running:
        yield running


def answer(server: Server, data: bytes, query: str = "") -> str:
    """Returns the code of the refusal, or `answered`; a failure of the server fails the test."""
    response = server.client.post(f"/predict{query}", content=data, headers={"Content-Type": "application/dicom"})
    assert response.status_code < 500, response.text
    return "answered" if response.status_code == 200 else str(response.json()["error"]["code"])


@pytest.mark.parametrize("query", ["", "?force=true"])
def test_predict_answers_or_refuses_every_file_as_the_decoder_does(server: Server, query: str) -> None:
    different, counted = {}, Counter[str]()
    for path in files():
        data = path.read_bytes()
        expected = outcome(data, force=bool(query), limits=DecodeLimits())
        found = answer(server, data, query)
        counted[found] += 1
        if found != expected:
            different[path.name] = (found, expected)
    print(json.dumps(counted))  # noqa: T201 -- docs/dicom.md
    assert different == {}
    assert counted.total() > 200


def test_score_gives_each_frame_of_every_file_a_row(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    folder.mkdir()
    for number, path in enumerate(files()):
        (folder / f"{number}.dcm").symlink_to(path)
    done = server.command("score", str(folder), "--out", str(tmp_path / "run"), "--format", "csv", "--force")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    print(json.dumps(summary["failures"]))  # noqa: T201 -- docs/dicom.md
    assert summary["images"] > len(files())
    assert "Traceback" not in done.stderr


def test_damaged_files_are_answered_or_refused_and_the_server_lives(server: Server) -> None:
    generator, intact = random.Random(7), originals()  # noqa: S311 -- damage, not secrets
    names, counted = sorted(intact), Counter[str]()
    for _ in range(DAMAGED):
        counted[answer(server, mutated(intact[generator.choice(names)], generator))] += 1
    print(json.dumps(counted))  # noqa: T201 -- docs/dicom.md
    assert counted["answered"] > DAMAGED / 10
    assert counted["image_unreadable"] > DAMAGED / 10
    assert answer(server, intact["window"], "?force=true") == "answered"
