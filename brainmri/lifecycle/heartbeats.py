"""Signs of life of the workers of one server, so that the probe that reaches one of them tells about all.

The workers share the HTTP port, so a caller that is told "ready" by one of them may be answered by any other.
"""

import contextlib
import os
import time
from pathlib import Path

BEAT_S = 1.0
STALE_S = 10.0
"""A worker that has been silent for this long is dead, or its event loop hangs."""

_READY = "ready"
_FAILED = "failed\n"
_GONE = "gone"


class Heartbeats:
    """One file for each worker, touched every second; it says whether the worker is ready, or why it never will be.

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
