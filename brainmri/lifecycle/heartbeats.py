"""Signs of life of the workers of one server, so that the probe that reaches one of them tells about all."""

import os
import shutil
import time
from pathlib import Path

BEAT_S = 1.0
STALE_S = 10.0
"""A worker that has been silent for this long is dead, or its event loop hangs."""


class Heartbeats:
    """One file for each worker, touched every second.

    Args:
        home: BENTOML_HOME.
        parent: Process id of the server, the workers' parent.
    """

    def __init__(self, home: Path, parent: int) -> None:
        self._folder = home / "brainmri" / "workers" / str(parent)
        self._own = self._folder / str(os.getpid())

    def reset(self) -> None:
        """Forgets the workers of an earlier server with the same process id."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def join(self) -> None:
        """Announces this worker, and forgets those that it replaces: files of processes that are gone."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            if not _runs(int(path.name)):
                path.unlink(missing_ok=True)
        self.beat()

    def beat(self) -> None:
        """Says that this worker is alive."""
        self._own.touch()

    def leave(self) -> None:
        """Ends this worker in good order."""
        self._own.unlink(missing_ok=True)

    def all_alive(self) -> bool:
        """Tells whether every worker that has joined and not left has been heard of lately."""
        now = time.time()
        try:
            return all(now - path.stat().st_mtime < STALE_S for path in self._folder.iterdir())
        except FileNotFoundError:
            # One has left between the two calls.
            return True


def _runs(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
