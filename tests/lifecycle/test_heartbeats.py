import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from brainmri.lifecycle.state import STALE_S, Heartbeats


@pytest.fixture
def heartbeats(tmp_path: Path) -> Heartbeats:
    heartbeats = Heartbeats(tmp_path, parent=1)
    heartbeats.join()
    return heartbeats


@pytest.fixture
def workers(tmp_path: Path) -> Path:
    return tmp_path / "workers" / "1"


def silence(path: Path) -> None:
    """Makes a worker's last beat too old."""
    path.touch()
    long_ago = time.time() - STALE_S - 1
    os.utime(path, (long_ago, long_ago))


def test_workers_that_beat_are_alive(heartbeats: Heartbeats, workers: Path) -> None:
    (workers / "2").touch()
    assert heartbeats.all_alive()


def test_one_silent_worker_shows_in_all_of_them(heartbeats: Heartbeats, workers: Path) -> None:
    silence(workers / "2")
    assert not heartbeats.all_alive()
    (workers / "2").touch()
    assert heartbeats.all_alive()


def test_its_own_silence_shows_too_until_it_beats(heartbeats: Heartbeats, workers: Path) -> None:
    silence(workers / str(os.getpid()))
    assert not heartbeats.all_alive()
    heartbeats.beat(ready=False)
    assert heartbeats.all_alive()


def test_they_are_ready_when_all_have_joined_and_say_so(heartbeats: Heartbeats, workers: Path) -> None:
    heartbeats.beat(ready=True)
    assert not heartbeats.all_ready(2)
    (workers / "2").touch()
    assert not heartbeats.all_ready(2)
    (workers / "2").write_text((workers / str(os.getpid())).read_text())
    assert heartbeats.all_ready(2)
    heartbeats.beat(ready=False)
    assert not heartbeats.all_ready(2)


def test_a_worker_that_joins_with_the_process_id_of_a_ready_one_is_not_ready(tmp_path: Path) -> None:
    for _ in range(2):
        heartbeats = Heartbeats(tmp_path, parent=1)
        heartbeats.join()
        assert not heartbeats.all_ready(1)
        heartbeats.beat(ready=True)
        assert heartbeats.all_ready(1)


def test_a_worker_that_failed_for_good_tells_all_of_them_why(heartbeats: Heartbeats, tmp_path: Path) -> None:
    sibling = Heartbeats(tmp_path, parent=1)
    assert sibling.problem() is None
    heartbeats.beat(False, "The model was altered.")
    assert sibling.problem() == "The model was altered."
    assert not sibling.all_alive()
    assert not sibling.all_ready(1)


def test_what_a_dead_worker_left_is_forgotten(heartbeats: Heartbeats, workers: Path) -> None:
    (workers / "2").touch()
    heartbeats.forget(2)
    heartbeats.forget(2)
    assert list(heartbeats.beats()) == [os.getpid()]


def test_a_worker_that_left_in_good_order_is_not_missed(heartbeats: Heartbeats, workers: Path) -> None:
    heartbeats.leave()
    assert list(workers.iterdir()) == []
    assert heartbeats.all_alive()


def test_a_new_worker_takes_the_place_of_those_whose_process_is_gone(tmp_path: Path, workers: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    workers.mkdir(parents=True)
    silence(workers / str(process.pid))
    silence(workers / str(os.getppid()))
    heartbeats = Heartbeats(tmp_path, parent=1)
    heartbeats.join()
    assert {path.name for path in workers.iterdir()} == {str(os.getpid()), str(os.getppid())}
    # The other one runs, but is silent.
    assert not heartbeats.all_alive()
