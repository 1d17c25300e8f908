"""`brainmri score s3://...` against a real S3 server, which is slow, fails and throttles."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import s3fs

from tests.bulk.kills import ROOT
from tests.bulk.stand_in import BLACK, BLUE, GREEN, RED, picture
from tests.object_store import ObjectStore, object_store
from tests.tiny import write_tiny_bundle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

IMAGES, SHARD = 120, 8
LOGIN = {"key": "ACCESS_KEY_ID", "secret": "SECRET_ACCESS_KEY", "endpoint_url": "ENDPOINT_URL"}
COLOURS = (RED, GREEN, BLUE, BLACK)


class Scans:
    """The same images in a bucket and in a folder, and the command that scores either."""

    def __init__(self, folder: Path, store: ObjectStore) -> None:
        self.folder, self.store = folder, store
        write_tiny_bundle(folder / "models" / "brain_mri_xception", folder, novelty_threshold=1.0)
        (folder / "scans").mkdir()
        # moto's objects outlive its server within a process.
        bucket = f"scans-{secrets.token_hex(4)}"
        self.url = f"s3://{bucket}"
        login = {name: store.environment[f"AWS_{variable}"] for name, variable in LOGIN.items()}
        system: Any = s3fs.S3FileSystem(**login, skip_instance_cache=True)
        system.mkdir(bucket)
        for number in range(IMAGES):
            data = b"damaged" if number % 17 == 3 else picture(COLOURS[number % 4])
            name = f"{number:04d}.png"
            (folder / "scans" / name).write_bytes(data)
            system.pipe_file(f"{bucket}/{name}", data)

    def start(self, source: str, out: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "brainmri", "score", source, "--out", out, "--resume"]
        environment = {
            **os.environ,
            **self.store.environment,
            "PYTHONPATH": str(ROOT),
            "BENTOML_HOME": str(self.folder / "home"),
            "BRAINMRI_BUNDLES": str(self.folder / "models"),
            "BRAINMRI_THREADS": "1",
        }
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*command, "--shard-size", str(SHARD)],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def score(self, source: str, out: str) -> list[tuple[Any, ...]]:
        """Returns name, hash, status, label and error of each row."""
        assert self.start(source, out).wait(300) == 0, (self.folder / "log").read_text()
        columns = ["sha256", "status", "label", "error_code"]
        rows = pq.read_table(self.folder / out / "results.parquet").to_pylist()
        return sorted((row["path"].rsplit("/", 1)[1], *(row[name] for name in columns)) for row in rows)


@pytest.fixture
def scans(tmp_path: Path) -> Iterator[Scans]:
    with object_store() as store:
        yield Scans(tmp_path, store)


def test_a_bucket_that_is_slow_fails_and_throttles_gives_the_rows_of_a_folder(scans: Scans) -> None:
    scans.store.fault_every, scans.store.wait_s = 5, 0.02
    found = scans.score(scans.url, "bucket")
    assert found == scans.score("scans", "folder")
    assert len(found) == IMAGES
    assert scans.store.faults["SlowDown"] >= 5
    assert scans.store.faults["InternalError"] >= 5


def test_an_object_that_is_never_answered_is_a_failed_row(scans: Scans) -> None:
    scans.store.broken = ("0008.png",)
    rows = {row[0]: row for row in scans.score(scans.url, "bucket")}
    assert rows["0008.png"][2:] == ("failed", None, "source_unreadable")
    assert rows["0009.png"][2] == "ok"


def test_a_run_that_is_killed_goes_on_from_the_bucket(scans: Scans) -> None:
    scans.store.fault_every, scans.store.wait_s = 7, 0.1
    process = scans.start(scans.url, "bucket")
    parts = scans.folder / "bucket" / "parts"
    while process.poll() is None and len(list(parts.glob("[0-9]*.parquet"))) < 2:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (scans.folder / "bucket" / "results.parquet").exists()
    scans.store.wait_s = 0
    assert scans.score(scans.url, "bucket") == scans.score("scans", "folder")
