import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from brainmri.lifecycle.state import Heartbeats
from brainmri.lifecycle.supervisor import Silence, Supervisor
from brainmri.settings import Settings


def test_a_worker_is_silent_from_its_last_beat_on() -> None:
    silence = Silence()
    assert silence.observe({1: 10, 2: 10}, 100.0) == {1: 0.0, 2: 0.0}
    assert silence.observe({1: 11, 2: 10}, 101.5) == {1: 0.0, 2: 1.5}
    assert silence.observe({1: 11, 2: 10, 3: 5}, 103.0) == {1: 1.5, 2: 3.0, 3: 0.0}


def test_a_worker_that_has_left_and_come_again_begins_anew() -> None:
    silence = Silence()
    silence.observe({1: 10}, 100.0)
    assert silence.observe({}, 101.0) == {}
    assert silence.observe({1: 10}, 102.0) == {1: 0.0}


@pytest.mark.parametrize("beat", [10, 11])
def test_nobody_is_silent_after_the_watcher_itself_was_stopped(beat: int) -> None:
    silence = Silence()
    silence.observe({1: 10}, 100.0)
    silence.observe({1: 10}, 104.0)
    assert silence.observe({1: beat}, 140.0) == {1: 0.0}
    assert silence.observe({1: beat}, 141.0) == {1: 1.0}


class Arbiter:
    """What a supervisor needs of circus, with one child process as the worker."""

    def __init__(self, listening: socket.socket, age_s: float) -> None:
        self.child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        self.sockets = {"http": listening}
        self.asked: list[Callable[..., Any]] = []
        self.loop = SimpleNamespace(add_callback=self.asked.append)
        self._age_s = age_s

    def iter_watchers(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(processes={0: SimpleNamespace(pid=self.child.pid, age=lambda: self._age_s)})]


class Watched:
    """One supervisor, whose clock stands still until it is told."""

    def __init__(self, folder: Path, listening: socket.socket, age_s: float) -> None:
        self.now = 100.0
        self.arbiter = Arbiter(listening, age_s)
        self.beats = folder / "workers" / "1"
        self.beats.mkdir(parents=True)
        self.beat = self.beats / str(self.arbiter.child.pid)
        self.beat.touch()
        settings = Settings(worker_timeout_s=12)
        self.supervisor = Supervisor(self.arbiter, Heartbeats(folder, parent=1), settings, lambda: self.now)
        self.look()

    def look(self, later_s: float = 0.0) -> None:
        # A poll that is later than this tells nothing.
        for _ in range(int(later_s // 4)):
            self.now += 4
            self.supervisor._look()
        self.now += later_s % 4
        self.supervisor._look()

    def kill(self) -> None:
        self.arbiter.child.kill()
        os.waitid(os.P_PID, self.arbiter.child.pid, os.WEXITED | os.WNOWAIT)


Watch = Callable[..., Watched]


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one


@pytest.fixture
def watch(tmp_path: Path, listening: socket.socket) -> Iterator[Watch]:
    made: list[Watched] = []

    def start(age_s: float = 60.0) -> Watched:
        made.append(Watched(tmp_path, listening, age_s))
        return made[-1]

    yield start
    for watched in made:
        watched.supervisor._answer_in_their_place(needed=False)
        watched.arbiter.child.kill()
        watched.arbiter.child.communicate()


def status(listening: socket.socket) -> int | None:
    """Returns what the socket answers; None if nothing within a moment."""
    try:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/predict"
        return httpx.post(address, content=b"x", trust_env=False, timeout=httpx.Timeout(10, read=0.5)).status_code
    except httpx.ReadTimeout:
        return None


def test_while_a_worker_beats_nothing_is_done(watch: Watch, listening: socket.socket) -> None:
    watched = watch()
    for beat in range(10):
        os.utime(watched.beat, (beat, beat))
        watched.look(4)
    assert watched.arbiter.child.poll() is None
    assert status(listening) is None


def test_circus_counts_its_workers_every_ten_seconds(watch: Watch) -> None:
    watched = watch()
    asked = []
    for beat, later_s in enumerate((9.5, 0.5, 9.5, 0.5)):
        os.utime(watched.beat, (beat, beat))
        watched.look(later_s)
        asked.append(len(watched.arbiter.asked))
    assert asked == [0, 1, 1, 2]


def test_a_silent_worker_is_killed_after_the_timeout_and_not_before(watch: Watch) -> None:
    watched = watch()
    watched.look(11.9)
    assert watched.arbiter.child.poll() is None
    watched.look(0.2)
    assert watched.arbiter.child.wait(10) == -9


@pytest.mark.parametrize(("age_s", "asked"), [(60.0, 1), (2.0, 0)], ids=["served", "died as it started"])
def test_a_dead_worker_is_replaced_at_once_unless_it_died_as_it_started(watch: Watch, age_s: float, asked: int) -> None:
    watched = watch(age_s)
    watched.kill()
    watched.look(0.5)
    assert len(watched.arbiter.asked) == asked
    assert not watched.beat.exists()


def test_requests_are_refused_while_no_worker_runs_and_only_then(watch: Watch, listening: socket.socket) -> None:
    watched = watch()
    assert status(listening) is None
    watched.look(11)
    assert status(listening) is None
    watched.kill()
    watched.look(0.5)
    assert status(listening) == 503
    (watched.beats / str(os.getpid())).write_text("ready")
    watched.look(0.5)
    stopped = [status(listening) for _ in range(3)]
    assert stopped[-1] is None


def test_requests_are_refused_if_the_first_worker_died_before_anyone_looked(
    tmp_path: Path, watch: Watch, listening: socket.socket
) -> None:
    watched = watch()
    watched.beat.touch()
    fresh = Supervisor(watched.arbiter, Heartbeats(tmp_path, parent=1), Settings())
    watched.kill()
    fresh._look()
    assert status(listening) == 503
    fresh._answer_in_their_place(needed=False)


def test_before_the_first_worker_has_started_requests_wait_for_it(
    tmp_path: Path, watch: Watch, listening: socket.socket
) -> None:
    watched = watch()
    fresh = Supervisor(watched.arbiter, Heartbeats(tmp_path / "empty", parent=1), Settings())
    fresh._look()
    assert status(listening) is None


def test_a_person_is_told_once_what_to_open_when_every_worker_is_warm(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watched = watch()
    with caplog.at_level("INFO", logger="brainmri"):
        watched.look(1)
        assert "Ready" not in caplog.text
        watched.beat.write_text("ready")
        watched.look(1)
        watched.look(1)
    assert [each for each in caplog.messages if "Ready" in each] == ["Ready: open http://127.0.0.1:3000"]
