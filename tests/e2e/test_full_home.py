"""A home whose disk fills under a running server: requests are answered, and the worker lives."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.disks import small_disk
from tests.e2e.servers import serving
from tests.open_inference.served import COLOURS

REQUESTS = 20
PATHS = ("/predict", "/preview", "/predict_batch", "/v1/models/brain_mri:predict", "/v2/models/brain_mri/infer")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for a server, its home on a disk of 8 MiB, where the tests may mount one."""
    with small_disk(tmp_path / "home", "8m"):
        yield tmp_path


def fill(home: Path) -> Path:
    """Writes a file until the disk has no room."""
    filler = home / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def test_a_full_home_ends_no_worker_and_no_request(folder: Path, png: Callable[..., bytes]) -> None:
    with serving(folder) as server:
        workers = server.workers()
        filler = fill(folder / "home")
        with pytest.raises(OSError, match="No space left"):
            (folder / "home" / "one.more").write_bytes(bytes(8192))
        # Series of routes and statuses that were not counted before, in files that are mapped.
        for path in (
            "/predict",
            "/preview",
            "/predict_batch",
            "/v1/models/brain_mri:predict",
            "/v2/models/brain_mri/infer",
        ):
            assert server.client.post(path, content=b"nothing").status_code < 500
        image = png(COLOURS["glioma"])
        answers = [server.client.post("/predict", files={"image": image}) for _ in range(REQUESTS)]
        assert {(answer.status_code, answer.json()["label"]) for answer in answers} == {(200, "glioma")}
        counted = f'brainmri_requests_total{{protocol="http",route="/predict",status="2xx"}} {REQUESTS}.0'
        assert counted in server.client.get("/metrics").text
        assert server.client.get("/readyz").status_code == 200
        assert server.workers() == workers
        filler.unlink()
        assert server.client.post("/predict", files={"image": image}).status_code == 200
