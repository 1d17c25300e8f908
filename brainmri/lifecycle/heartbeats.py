"""Signs of life of the workers of one server, so that the probe that reaches one of them tells about all.

The workers share the HTTP port, so a caller that is told "ready" by one of them may be answered by any other.
"""

import os
import time
from pathlib import Path

BEAT_S = 1.0
STALE_S = 10.0
"""A worker that has been silent for this long is dead, or its event loop hangs."""

_READY = "ready"


class Heartbeats:
    """One file for each worker, touched every second; it holds a word once the worker is ready.

    Args:
        folder: Of the server's state.
        parent: Process id of the server, the workers' parent.
    """

    def __init__(self, folder: Path, parent: int) -> None:
        self._folder = folder / "workers" / str(parent)
        self._own = self._folder / str(os.getpid())
        self._said_ready = False
        self._left = False

    def join(self) -> None:
        """Announces this worker, and forgets those that it replaces: files of processes that are gone."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            if not runs(int(path.name)):
                path.unlink(missing_ok=True)
        self._own.write_text("")
        self._said_ready = False

    def beat(self, ready: bool) -> None:
        """Says that this worker is alive.

        Args:
            ready: Whether it answers requests.
        """
        if self._left:
            return
        if ready == self._said_ready:
            self._own.touch()
        else:
            self._own.write_text(_READY if ready else "")
            self._said_ready = ready

    def leave(self) -> bool:
        """Ends this worker in good order; returns whether it is the last one."""
        self._left = True
        self._own.unlink(missing_ok=True)
        try:
            return not any(runs(int(path.name)) for path in self._folder.iterdir())
        except FileNotFoundError:
            return True

    def all_alive(self) -> bool:
        """Tells whether every worker that has joined and not left has been heard of lately."""
        now = time.time()
        try:
            return all(now - path.stat().st_mtime < STALE_S for path in self._folder.iterdir())
        except FileNotFoundError:
            # One has left between the two calls.
            return True

    def all_ready(self, workers: int) -> bool:
        """Tells whether every worker has joined and has said that it is ready, at its last beat.

        Args:
            workers: How many there are to be; the first can be ready before the last has joined.
        """
        ready = [_says_ready(path) for path in self._folder.glob("*")]
        return len(ready) >= workers and all(ready)


def _says_ready(path: Path) -> bool:
    try:
        return path.read_text() == _READY
    except FileNotFoundError:
        # It has left meanwhile.
        return True


def runs(process_id: int) -> bool:
    """Tells whether there is such a process."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
