"""What a worker writes its metrics to has room on the disk before it is mapped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from brainmri.observe.shared_files import FILE_BYTES, allocate

ROOT = Path(__file__).parents[2]
WORKER = """
import os
from pathlib import Path
from brainmri.observe.metrics import Metrics
from brainmri.observe.shared_files import allocate

allocate(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
metrics = Metrics()
metrics.set_queue(3, 1.0)
for route in range(100):
    for status in (200, 400, 500):
        metrics.count_request(f"/v2/models/{route}/versions/1/infer", "open_inference_rest", status, 0.02)
print(sum(line.startswith("brainmri_requests_total{") for line in metrics.exposition().decode().splitlines()))
"""


def test_the_metrics_of_a_hundred_routes_need_no_room_that_was_not_there_at_the_start(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(ROOT), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    command = [sys.executable, "-c", WORKER]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert told == "300\n"
    files = {file.name.rpartition("_")[0]: file.stat() for file in tmp_path.iterdir()}
    assert set(files) == {"counter", "histogram", "gauge_livesum", "gauge_livemax", "gauge_livemin"}
    assert {file.st_size for file in files.values()} == {FILE_BYTES}
    assert all(file.st_blocks * 512 >= FILE_BYTES for file in files.values())


def test_nothing_is_left_where_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def nearly_full(descriptor: int, offset: int, size: int) -> None:
        given.append((offset, size))
        if len(given) == 3:
            raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", nearly_full)
    with pytest.raises(OSError, match="No space left"):
        allocate(tmp_path)
    assert given == [(0, FILE_BYTES)] * 3
    assert list(tmp_path.iterdir()) == []
