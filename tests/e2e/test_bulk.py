"""Archives and jobs against a real server, with the tools that people use."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.bulk.test_archives import packed_tar, packed_zip
from tests.e2e.servers import Server, serving

CURL = shutil.which("curl")
COLOURS = {"glioma": (255, 0, 0), "meningioma": (0, 255, 0), "notumor": (0, 0, 0), "pituitary": (0, 0, 255)}
Png = Callable[..., bytes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bulk")


@pytest.fixture(scope="module")
def server(folder: Path, png: Png) -> Iterator[Server]:
    scans = folder / "root" / "scans"
    scans.mkdir(parents=True)
    for label, colour in COLOURS.items():
        (scans / f"{label}.png").write_bytes(png(colour))
    settings = {"jobs_dir": folder / "jobs", "jobs_input_root": folder / "root", "spool_dir": folder, "workers": 2}
    with serving(folder, **{name: str(value) for name, value in settings.items()}) as running:
        yield running


def many(png: Png, count: int) -> bytes:
    """Returns an archive of so many images that differ."""
    return packed_zip({f"{number:04d}.png": png((number % 256, 40, 10)) for number in range(count)})


def job(client: httpx.Client, identity: str) -> dict[str, Any]:
    body: dict[str, Any] = client.get(f"/jobs/{identity}").json()
    return body


def until(client: httpx.Client, identity: str, *states: str) -> dict[str, Any]:
    for _ in range(1200):
        if (body := job(client, identity))["state"] in states:
            return body
        time.sleep(0.05)
    pytest.fail(f"The job never became one of {states}: {body}")


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
def test_an_archive_with_curl_gives_rows_and_a_summary(server: Server, folder: Path, png: Png) -> None:
    files = {f"{label}.png": png(colour) for label, colour in COLOURS.items()}
    for name, data in (("scans.zip", packed_zip(files)), ("scans.tar.gz", packed_tar(files, "w:gz"))):
        (folder / name).write_bytes(data)
        command = [str(CURL), "-sS", "--data-binary", f"@{folder / name}", "-H", "Content-Type: application/zip"]
        done = subprocess.run([*command, f"{server.client.base_url}/score"], capture_output=True, text=True, check=True)
        *rows, last = map(json.loads, done.stdout.splitlines())
        assert [(row["path"], row["label"]) for row in rows] == [(f"{label}.png", label) for label in COLOURS]
        assert last["summary"]["complete"]


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
def test_a_form_with_curl(server: Server, folder: Path) -> None:
    scans = folder / "root" / "scans"
    form = [part for label in COLOURS for part in ("-F", f"images=@{scans / label}.png;filename=a/{label}.png")]
    done = subprocess.run(
        [str(CURL), "-sS", *form, f"{server.client.base_url}/score"], capture_output=True, text=True, check=True
    )
    *rows, last = map(json.loads, done.stdout.splitlines())
    assert [row["path"] for row in rows] == [f"a/{label}.png" for label in COLOURS]
    assert last["summary"]["labels"] == dict.fromkeys(COLOURS, 1)


def test_rows_come_while_others_are_still_to_be_scored(server: Server, png: Png) -> None:
    with server.client.stream("POST", "/score", content=many(png, 300)) as response:
        lines = response.iter_lines()
        first = json.loads(next(lines))
        got = time.monotonic()
        rest = list(lines)
    assert first["path"] == "0000.png"
    assert len(rest) == 300
    assert time.monotonic() - got > 0.2


def test_a_client_that_leaves_stops_the_work(server: Server, png: Png) -> None:
    def predicted() -> float:
        text = server.client.get("/metrics").text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("brainmri_predictions_"))

    port = server.client.base_url.port
    assert port is not None
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/score", many(png, 2000))
    connection.getresponse().readline()
    connection.close()
    time.sleep(1)
    before = predicted()
    time.sleep(1)
    assert predicted() == before
    assert "The client left before the last row" in server.log


def test_a_hostile_archive_is_refused_with_what_to_do(server: Server) -> None:
    response = server.client.post("/score", content=packed_zip({"../../etc/cron.d/a.png": b"x"}))
    assert (response.status_code, response.json()["error"]["code"]) == (400, "archive_refused")
    assert response.json()["error"]["message"].endswith("Pack it without '..'.")


def test_a_job_of_a_folder_is_run_by_one_of_two_workers(server: Server) -> None:
    identity = server.client.post("/jobs", json={"path": "scans"}).json()["id"]
    assert until(server.client, identity, "succeeded", "failed")["state"] == "succeeded"
    rows = [json.loads(line) for line in server.client.get(f"/jobs/{identity}/results").text.splitlines()]
    assert [(row["path"], row["label"]) for row in rows] == [(f"scans/{label}.png", label) for label in sorted(COLOURS)]
    assert server.log.count(f"Job {identity[:8]} begins") == 1
    # Whichever worker answers, all know the job, and that it is gone.
    assert server.client.delete(f"/jobs/{identity}").status_code == 204
    for _ in range(8):
        alone = httpx.get(server.client.base_url.join(f"/jobs/{identity}"), trust_env=False)
        assert alone.status_code == 404


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_job_survives_the_end_of_its_server(tmp_path: Path, png: Png, number: signal.Signals) -> None:
    settings: dict[str, str | int] = {"jobs_dir": str(tmp_path / "jobs"), "bulk_images": 1}
    stopped = run_until_interrupted(tmp_path, many(png, 800), settings, number)
    with serving(tmp_path, **settings) as again:
        found = job(again.client, stopped["id"])
        assert found["done"] >= stopped["done"] > 0
        done = until(again.client, stopped["id"], "succeeded", "failed")
        assert (done["state"], done["done"], done["failed"]) == ("succeeded", 800, 0)
        rows = [json.loads(line) for line in again.client.get(f"/jobs/{stopped['id']}/results").text.splitlines()]
        assert [row["path"] for row in rows] == [f"{number:04d}.png" for number in range(800)]
        # Only what was not stored before is scored after the restart.
        text = again.client.get("/metrics").text
        counted = [line for line in text.splitlines() if line.startswith("brainmri_confidence_ratio_count")]
        assert float(counted[0].split()[-1]) <= 800 - stopped["done"]


def run_until_interrupted(
    folder: Path, archive: bytes, settings: dict[str, str | int], number: signal.Signals
) -> dict[str, Any]:
    """Ends a server in the middle of a job; returns the job as it was shortly before."""
    expected = contextlib.nullcontext() if number is signal.SIGTERM else pytest.raises(AssertionError)
    with expected, serving(folder, **settings) as server:
        identity = server.client.post("/jobs", content=archive).json()["id"]
        server.until(lambda: job(server.client, identity)["done"] > 100, "a hundred images are done")
        seen = job(server.client, identity)
        assert seen["state"] == "running"
        # A worker would stop in good order when only its parent is killed.
        for process in [server.process.pid, *(server.workers() if number is signal.SIGKILL else ())]:
            os.kill(process, number)
        server.process.wait()
    return seen


def test_zip_of_the_standard_tool_is_read(server: Server, tmp_path: Path, png: Png) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(__file__, "notes.txt")
        archive.writestr("a.png", png())
    with (tmp_path / "a.zip").open("rb") as file:
        response = server.client.post("/score", content=file)
    assert json.loads(response.text.splitlines()[-1])["summary"]["left_out"] == 1
