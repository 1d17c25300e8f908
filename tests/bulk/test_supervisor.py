import io
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from brainmri.bulk.child import Part, Work
from brainmri.bulk.items import Item
from brainmri.bulk.supervisor import Supervisor
from brainmri.errors import InvalidBundle, ScoringHopeless
from brainmri.model.predictor import Predictor
from tests.bulk.stand_in import (
    BLUE,
    FAILS,
    GREEN,
    HANGS,
    IS_NO_NUMBER,
    KILLS,
    RED,
    Colour,
    work,
    write_pictures,
)

SHARD = 8


def shards(items: Sequence[Item]) -> Iterator[tuple[int, list[Item]]]:
    return ((number, list(items[start : start + SHARD])) for number, start in enumerate(range(0, len(items), SHARD)))


def rows(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Returns the rows of all parts, without the time."""
    found = []
    for part in parts:
        found += pq.read_table(io.BytesIO(part.parquet)).drop_columns(["scored_at"]).to_pylist()
    return found


def scored(folder: Path, colours: Sequence[Colour], **options: Any) -> list[dict[str, Any]]:
    with Supervisor(work(), SHARD, **options) as supervisor:
        return rows(list(supervisor.run(shards(write_pictures(folder, colours)))))


def test_every_image_has_its_row_in_order(tmp_path: Path) -> None:
    found = scored(tmp_path, [RED, GREEN, BLUE] * 7)
    assert [row["label"] for row in found] == ["glioma", "meningioma", "pituitary"] * 7
    assert [row["path"] for row in found] == [str(tmp_path / f"{number:04d}.png") for number in range(21)]


def test_an_image_that_kills_the_process_is_a_row_and_the_others_are_answered(tmp_path: Path) -> None:
    colours = [RED] * 20
    colours[5] = colours[6] = KILLS
    found = scored(tmp_path, colours)
    crashed = [number for number, row in enumerate(found) if row["error_code"] == "image_crashed"]
    assert crashed == [5, 6]
    assert "SIGSEGV" in found[5]["error_message"]
    assert len(found[5]["sha256"]) == 64
    assert {row["label"] for number, row in enumerate(found) if number not in crashed} == {"glioma"}


def test_an_image_on_which_the_network_raises_is_a_row(tmp_path: Path) -> None:
    found = scored(tmp_path, [BLUE, BLUE, FAILS, BLUE, BLUE, IS_NO_NUMBER])
    assert [row["error_code"] for row in found] == [None, None, "inference_failed", None, None, "inference_failed"]
    assert [row["label"] for row in found] == ["pituitary", "pituitary", None, "pituitary", "pituitary", None]


@pytest.mark.slow
def test_an_image_that_never_ends_is_a_row(tmp_path: Path) -> None:
    found = scored(tmp_path, [RED, HANGS, RED], stall_s=8)
    assert [row["error_code"] for row in found] == [None, "image_crashed", None]
    assert "after 8 s without a result" in found[1]["error_message"]


def test_a_damaged_or_missing_file_is_a_row(tmp_path: Path) -> None:
    items = write_pictures(tmp_path, [RED, RED, RED])
    Path(items[0].location).write_bytes(b"no image")
    Path(items[2].location).unlink()
    with Supervisor(work(), SHARD) as supervisor:
        found = rows(list(supervisor.run(shards(items))))
    assert [row["error_code"] for row in found] == ["image_unreadable", None, "source_unreadable"]
    assert [row["sha256"] is None for row in found] == [False, False, True]
    assert found[2]["error_message"].endswith("No such file or directory.")


def test_a_child_that_is_killed_from_outside_costs_nothing(tmp_path: Path) -> None:
    items = write_pictures(tmp_path, [RED, GREEN, BLUE] * 20)
    with Supervisor(work(), SHARD) as supervisor:
        calm = rows(list(supervisor.run(shards(items))))
    with Supervisor(work(), SHARD) as supervisor:
        parts = []
        for part in supervisor.run(shards(items)):
            parts.append(part)
            if part.number == 2:
                os.kill(supervisor.pid, signal.SIGKILL)
    assert rows(parts) == calm


class Broken:
    """Opens no model."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def __call__(self) -> Predictor:
        if self._error is not None:
            raise self._error
        os._exit(3)


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (InvalidBundle("It does not hold."), InvalidBundle, "It does not hold."),
        (None, ScoringHopeless, "died with exit status 3 while it loaded the model"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_told(
    error: Exception | None, expected: type[Exception], message: str
) -> None:
    usual = work()
    broken = Work(Broken(error), usual.batch_size, usual.decode_threads, usual.limits, usual.retry)
    with pytest.raises(expected, match=message), Supervisor(broken, SHARD):
        pass


def test_no_child_outlives_its_supervisor() -> None:
    with Supervisor(work(), SHARD) as supervisor:
        pid = supervisor.pid
        assert psutil.pid_exists(pid)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)
