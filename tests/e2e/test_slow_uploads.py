"""Uploads that take their time, to a real server: slow ones arrive, trickling ones end and shut nobody out."""

import json
import select
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from brainmri.web.auth import edit_keys, new_key
from brainmri.web.body import PACE_WINDOW_S
from tests.e2e.servers import Server, serving

pytestmark = pytest.mark.slow

Png = Callable[..., bytes]
PIECE_BYTES = 65_536
REQUEST_TIMEOUT_S = 2
KEYS = ("patient", "trickling")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("slow")


@pytest.fixture(scope="module")
def keys(folder: Path) -> dict[str, str]:
    made = {}
    with edit_keys(folder / "keys") as stored:
        for name in KEYS:
            made[name], stored[name] = new_key(name)
    return made


@pytest.fixture(scope="module")
def server(folder: Path, keys: dict[str, str]) -> Iterator[Server]:
    assert keys
    settings = {"api_keys_file": folder / "keys", "jobs_dir": folder / "jobs", "spool_dir": folder}
    with serving(
        folder, request_timeout_s=REQUEST_TIMEOUT_S, **{name: str(value) for name, value in settings.items()}
    ) as running:
        yield running


def padded(path: Path, image: bytes, size: int) -> Path:
    """Writes a zip file of one image and of as much else as makes it `size` bytes large, to within a kilobyte."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("slice.png", image)
        with archive.open(zipfile.ZipInfo("notes.bin"), "w", force_zip64=True) as member:
            left = size - len(image) - 1000
            while left > 0:
                left -= member.write(bytes(min(left, 2**20)))
    assert size - 1000 < path.stat().st_size <= size
    return path


class Upload:
    """One upload at a given pace, in a thread."""

    def __init__(self, server: Server, path: str, key: str, pieces: Iterator[bytes], size: int, pause_s: float) -> None:
        self.status = 0
        self.body = b""
        self.took_s = 0.0
        self._request = (server.client.base_url.port, path, key, pieces, size, pause_s)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def join(self, within_s: float) -> dict[str, Any]:
        """Waits for the answer; returns its last line."""
        self._thread.join(within_s)
        assert not self._thread.is_alive()
        parsed: dict[str, Any] = json.loads(self.body.splitlines()[-1])
        return parsed

    def _run(self) -> None:
        port, path, key, pieces, size, pause_s = self._request
        with closing(HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
            begun = time.monotonic()
            connection.putrequest("POST", path)
            for header in (("Content-Length", str(size)), ("X-API-Key", key)):
                connection.putheader(*header)
            connection.endheaders()
            for number, piece in enumerate(pieces, 1):
                connection.send(piece)
                pause_left_s = max(begun + number * pause_s - time.monotonic(), 0)
                # An early answer ends the upload.
                if select.select([connection.sock], [], [], pause_left_s)[0]:
                    break
            response = HTTPResponse(connection.sock)
            response.begin()
            self.status, self.body = response.status, response.read()
            self.took_s = time.monotonic() - begun


def paced(server: Server, path: str, key: str, archive: Path, bytes_per_s: float) -> Upload:
    return Upload(server, path, key, pieces_of(archive), archive.stat().st_size, PIECE_BYTES / bytes_per_s)


def pieces_of(archive: Path) -> Iterator[bytes]:
    with archive.open("rb") as file:
        yield from iter(lambda: file.read(PIECE_BYTES), b"")


def trickle(server: Server, path: str, key: str) -> Upload:
    pieces = iter(lambda: b"trickle!", None)
    return Upload(server, path, key, pieces, 2**20, pause_s=0.5)


def arrives(server: Server, key: str, archive: Path, bytes_per_s: float, least_s: float) -> None:
    """Uploads an archive to both interfaces at once; checks that it is scored however long it took."""
    uploads = [paced(server, path, key, archive, bytes_per_s) for path in ("/score", "/jobs")]
    last, job = (upload.join(least_s * 2 + 60) for upload in uploads)
    assert [upload.status for upload in uploads] == [200, 202]
    assert min(upload.took_s for upload in uploads) > least_s
    assert last["summary"]["complete"] is True
    assert last["summary"]["images"] == 1
    headers = {"X-API-Key": key}
    server.until(
        lambda: server.client.get(f"/jobs/{job['id']}", headers=headers).json()["state"] == "succeeded", "it is scored"
    )
    done = server.client.get(f"/jobs/{job['id']}", headers=headers).json()
    assert (done["done"], done["failed"]) == (1, 0)


def test_an_upload_may_take_longer_than_a_prediction(
    server: Server, keys: dict[str, str], folder: Path, png: Png
) -> None:
    archive = padded(folder / "small.zip", png((255, 0, 0)), 2**20)
    arrives(server, keys["patient"], archive, bytes_per_s=2**20 / 8, least_s=3 * REQUEST_TIMEOUT_S)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_gibibyte_over_five_megabytes_a_second_arrives(
    server: Server, keys: dict[str, str], folder: Path, png: Png
) -> None:
    archive = padded(folder / "large.zip", png((255, 0, 0)), 2**30)
    arrives(server, keys["patient"], archive, bytes_per_s=5e6, least_s=200)


def test_trickling_uploads_of_one_key_shut_nobody_out_and_end_by_the_pace(
    server: Server, keys: dict[str, str], folder: Path, png: Png
) -> None:
    trickling = [trickle(server, path, keys["trickling"]) for path in ("/score", "/jobs", "/score")]
    time.sleep(1)
    fourth = trickle(server, "/jobs", keys["trickling"])
    assert fourth.join(10)["error"]["code"] == "too_many_jobs"
    assert fourth.status == 429
    archive = padded(folder / "other.zip", png((255, 0, 0)), 10_000)
    other = paced(server, "/score", keys["patient"], archive, bytes_per_s=1e6)
    assert other.join(PACE_WINDOW_S / 2)["summary"]["images"] == 1
    for upload in trickling:
        assert upload.join(2 * PACE_WINDOW_S)["error"]["code"] == "upload_stalled"
        assert upload.status == 408
        assert PACE_WINDOW_S - 1 < upload.took_s < 2 * PACE_WINDOW_S
    again = paced(server, "/score", keys["trickling"], archive, bytes_per_s=1e6)
    assert again.join(PACE_WINDOW_S)["summary"]["images"] == 1
