"""What a running server keeps in BENTOML_HOME, apart from every other server of the same home.

The HTTP port names a server: `brainmri/servers/<port>/` holds which models it is to serve, its workers' signs of life
and their metrics. Its parent process holds a lock there for as long as it runs, also against servers in other
containers, whose process ids mean nothing here.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import time
from pathlib import Path

from brainmri.errors import InvalidSettings
from brainmri.lifecycle.desired_state import DesiredStateFile
from brainmri.observe import shared_files

BEAT_S = 1.0
STALE_S = 10.0
"""A worker that has been silent for this long is dead, or its event loop hangs."""

_READY = "ready"
_FAILED = "failed\n"
_GONE = "gone"

_SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"
"""Where the workers of a server write their metrics; `prometheus_client` reads it, and BentoML sets it."""

_CLAIM_S = 1.0
"""How long a server tries to lock its state: whoever asks if it runs locks it too, for an instant."""
_RETRY_S = 0.02

_logger = logging.getLogger(__name__)


class Heartbeats:
    """Signs of life of the workers of one server, so that the probe that reaches one of them tells about all.

    Each worker has one file, touched every second; it says whether the worker is ready, or why it never will be. The
    workers share the HTTP port, so a caller that is told "ready" by one of them may be answered by any other.

    Args:
        folder: Of the server's state.
        parent: Process id of the server, the workers' parent.
    """

    def __init__(self, folder: Path, parent: int) -> None:
        self._folder = folder / "workers" / str(parent)
        self._own = self._folder / str(os.getpid())
        self._said = ""
        self._left = False

    def join(self) -> None:
        """Announces this worker, and forgets those that it replaces: files of processes that are gone."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            if not runs(int(path.name)):
                path.unlink(missing_ok=True)
        self._own.write_text("")
        self._said = ""

    def beat(self, ready: bool, problem: str | None = None) -> None:
        """Says that this worker's event loop runs.

        Args:
            ready: Whether it answers requests.
            problem: Why it will never be ready, if it has failed for good.
        """
        if self._left:
            return
        says = _READY if ready else "" if problem is None else _FAILED + problem
        if says == self._said:
            self._own.touch()
        else:
            self._own.write_text(says)
            self._said = says

    def leave(self) -> bool:
        """Ends this worker in good order; returns whether it is the last one."""
        self._left = True
        self._own.unlink(missing_ok=True)
        try:
            return not any(runs(int(path.name)) for path in self._folder.iterdir())
        except FileNotFoundError:
            return True

    def all_alive(self) -> bool:
        """Tells whether every worker that has joined and not left has been heard of lately, and none has failed."""
        now = time.time()
        lately = all(now - beat_ns / 1e9 < STALE_S for beat_ns in self.beats().values())
        return lately and self.problem() is None

    def problem(self) -> str | None:
        """Returns why one of the workers has failed for good; None if none has."""
        texts = map(_read, self._folder.glob("*"))
        return next((text.removeprefix(_FAILED) for text in texts if text.startswith(_FAILED)), None)

    def beats(self) -> dict[int, int]:
        """Returns when each worker that has joined and not left was heard of last, in ns of the wall clock, by pid."""
        found = {}
        for path in self._folder.glob("*"):
            # One may leave between the two calls.
            with contextlib.suppress(FileNotFoundError):
                found[int(path.name)] = path.stat().st_mtime_ns
        return found

    def forget(self, process_id: int) -> None:
        """Removes what a worker that has died left."""
        (self._folder / str(process_id)).unlink(missing_ok=True)

    def all_ready(self, workers: int) -> bool:
        """Tells whether every worker has joined and has said that it is ready, at its last beat.

        Args:
            workers: How many there are to be; the first can be ready before the last has joined.
        """
        # One that cannot be read has left meanwhile.
        ready = [_read(path) in (_READY, _GONE) for path in self._folder.glob("*")]
        return len(ready) >= workers and all(ready)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return _GONE


def runs(process_id: int) -> bool:
    """Tells whether there is such a process."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class ServerState:
    """The state of one server.

    Args:
        home: BENTOML_HOME.
        port: TCP port of its HTTP interface.

    Attributes:
        port: TCP port of the server's HTTP interface.
        folder: Where the state lies.
    """

    def __init__(self, home: Path, port: int) -> None:
        self.port = port
        self.folder = _servers(home) / str(port)
        self._lock = self.folder / "lock"
        self._home = home

    @property
    def desired(self) -> DesiredStateFile:
        """Which models the server is to serve."""
        return DesiredStateFile(self.folder)

    def heartbeats(self, parent: int) -> Heartbeats:
        """Returns the signs of life of the workers of the process `parent`."""
        return Heartbeats(self.folder, parent)

    def claim(self) -> None:
        """Makes the state this process's until it ends, and empties it; call it in the server's parent process, once.

        Raises:
            InvalidSettings: Another server has the same port and home, or the home cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Never closed: the lock ends with the process.
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
            if not _locked(descriptor, time.monotonic() + _CLAIM_S):
                raise InvalidSettings(
                    f"Another server, {self}, keeps its state in {self.folder}. End it, or set BRAINMRI_HTTP_PORT or"
                    " BENTOML_HOME to another value."
                )
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
            for name in ("workers", "metrics"):
                shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / "metrics").mkdir()
            self.desired.remove()
            _forget_former_layout(self._home)
        except OSError as error:
            raise InvalidSettings(
                f"{self.folder} cannot be used: {error.strerror}. Set BENTOML_HOME to a folder that can be written."
            ) from error

    def running(self) -> bool:
        """Tells whether a server has claimed the state and has not ended."""
        try:
            descriptor = os.open(self._lock, os.O_RDWR)
        except OSError:
            return False
        try:
            return not _locked(descriptor, until=0)
        finally:
            os.close(descriptor)

    def share_metrics(self) -> None:
        """Has the workers' metrics written into the state; call it in a worker before there are any metrics.

        BentoML's own folder for them is one for all servers of a home, which each of them empties as it starts. Where
        they cannot be written, a worker keeps its own in memory, and shows those alone.
        """
        if _SHARED_METRICS not in os.environ:
            return
        folder = self.folder / "metrics"
        try:
            shared_files.allocate(folder)
        except OSError as error:
            _logger.error("%s cannot be written: %s. This worker shows its own metrics only.", folder, error.strerror)
            del os.environ[_SHARED_METRICS]
        else:
            os.environ[_SHARED_METRICS] = str(folder)

    def __str__(self) -> str:
        """Returns how people tell the server from others."""
        try:
            return f"port {self.port} (process {self._lock.read_text()})"
        except OSError:
            return f"port {self.port}"


def running_servers(home: Path) -> list[ServerState]:
    """Returns the servers that run with this home, by port.

    Args:
        home: BENTOML_HOME.
    """
    ports = sorted(int(path.name) for path in _servers(home).glob("*") if path.name.isdecimal())
    return [state for port in ports if (state := ServerState(home, port)).running()]


def _servers(home: Path) -> Path:
    return home / "brainmri" / "servers"


def _locked(descriptor: int, until: float) -> bool:
    """Tries to lock a file, again until an instant of `time.monotonic`."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_RETRY_S)
        else:
            return True


def _forget_former_layout(home: Path) -> None:
    """Removes what releases up to 0.2.2 kept for all servers together, unless one of them still runs."""
    workers = home / "brainmri" / "workers"
    servers = {int(path.name) for path in workers.glob("*")} - {os.getpid()}
    if any(map(runs, servers)):
        return
    shutil.rmtree(workers, ignore_errors=True)
    (home / "brainmri" / "wanted.json").unlink(missing_ok=True)
