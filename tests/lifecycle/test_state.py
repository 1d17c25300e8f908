import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from brainmri.errors import InvalidSettings
from brainmri.lifecycle.desired_state import DesiredState
from brainmri.lifecycle.state import ServerState, running_servers

CLAIM = """
import sys
from pathlib import Path
from brainmri.lifecycle.state import ServerState
ServerState(Path(sys.argv[1]), int(sys.argv[2])).claim()
print("claimed", flush=True)
sys.stdin.read()
"""


def claimed(home: Path, port: int) -> subprocess.Popen[str]:
    """Starts a process that claims the state of a server until its input is closed."""
    command = [sys.executable, "-c", CLAIM, str(home), str(port)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "claimed\n"
    return process


def test_the_state_is_one_process_s_until_that_ends_however_it_ends(tmp_path: Path) -> None:
    with claimed(tmp_path, 3000) as other:
        with pytest.raises(InvalidSettings, match=rf"Another server, port 3000 \(process {other.pid}\), keeps"):
            ServerState(tmp_path, 3000).claim()
        assert [state.port for state in running_servers(tmp_path)] == [3000]
        other.kill()
    assert running_servers(tmp_path) == []
    ServerState(tmp_path, 3000).claim()
    assert [str(state) for state in running_servers(tmp_path)] == [f"port 3000 (process {os.getpid()})"]


def test_two_servers_of_one_home_have_each_their_own(tmp_path: Path) -> None:
    first, second = (ServerState(tmp_path, port) for port in (3000, 10000))
    first.claim()
    first.desired.write(DesiredState(("a:1",), "a:2"))
    (first.folder / "metrics" / "counter_1.db").write_text("")
    first.heartbeats(1).join()
    second.claim()
    second.desired.write(DesiredState(("b:1",)))
    assert first.desired.read() == DesiredState(("a:1",), "a:2")
    assert [path.name for path in (first.folder / "metrics").iterdir()] == ["counter_1.db"]
    assert [path.name for path in (first.folder / "workers" / "1").iterdir()] == [str(os.getpid())]
    assert [state.port for state in running_servers(tmp_path)] == [3000, 10000]


def test_a_server_begins_without_what_the_one_before_it_left(tmp_path: Path) -> None:
    state = ServerState(tmp_path, 3000)
    state.heartbeats(1).join()
    state.desired.write(DesiredState(("a:1",), "a:2"))
    (state.folder / "metrics").mkdir()
    (state.folder / "metrics" / "counter_1.db").write_text("")
    state.claim()
    assert state.desired.read() is None
    assert sorted(path.name for path in state.folder.iterdir()) == ["lock", "metrics"]
    assert list((state.folder / "metrics").iterdir()) == []


def former(home: Path, server: int) -> Path:
    """Writes what release 0.2.2 kept in a home; returns its folder."""
    folder = home / "brainmri"
    (folder / "workers" / str(server)).mkdir(parents=True)
    (folder / "workers" / str(server) / "7").write_text("ready")
    (folder / "wanted.json").write_text('{"configured": ["a:1"], "activated": "a:2"}')
    return folder


def test_a_home_of_an_earlier_release_is_taken_over(tmp_path: Path) -> None:
    folder = former(tmp_path, os.getpid())
    ServerState(tmp_path, 3000).claim()
    assert [path.name for path in folder.iterdir()] == ["servers"]


def test_a_server_of_an_earlier_release_that_still_runs_keeps_what_it_has(tmp_path: Path) -> None:
    folder = former(tmp_path, os.getppid())
    ServerState(tmp_path, 3000).claim()
    assert sorted(path.name for path in folder.iterdir()) == ["servers", "wanted.json", "workers"]


def test_only_a_worker_s_metrics_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = ServerState(tmp_path, 3000)
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    state.share_metrics()
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "/bentoml's")
    state.claim()
    state.share_metrics()
    assert os.environ["PROMETHEUS_MULTIPROC_DIR"] == str(state.folder / "metrics")


def test_a_worker_whose_metrics_have_no_room_keeps_them_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "/bentoml's")
    monkeypatch.setattr(os, "posix_fallocate", full)
    state = ServerState(tmp_path, 3000)
    state.claim()
    state.share_metrics()
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ
    assert list((state.folder / "metrics").iterdir()) == []
    assert caplog.messages == [
        f"{state.folder}/metrics cannot be written: No space left on device. This worker shows its own metrics only."
    ]


def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "brainmri").write_text("a file in the way")
    with pytest.raises(InvalidSettings, match=r"cannot be used: Not a directory\. Set BENTOML_HOME to a folder that"):
        ServerState(tmp_path, 3000).claim()
