"""Wakes the one process that waits for work, from any process of the host, by a named pipe."""

import contextlib
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Wakes:
    """A pipe into which a byte is written for each wake.

    Args:
        path: Of the pipe; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pipe: int | None = None

    def prepare(self) -> None:
        """Creates the pipe, if there is none."""
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self._path, 0o600)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Keeps every wake from now on for `wait`, until the end of the context."""
        self.prepare()
        # Open for writing as well, or the pipe would be at its end whenever no writer has it open.
        self._pipe = os.open(self._path, os.O_RDWR | os.O_NONBLOCK)
        try:
            yield
        finally:
            pipe, self._pipe = self._pipe, None
            os.close(pipe)

    def wait(self, timeout_s: float) -> None:
        """Waits for a wake that no earlier wait has taken, at most `timeout_s` seconds; only while listening."""
        assert self._pipe is not None  # noqa: S101 -- while listening
        waiting = select.poll()
        waiting.register(self._pipe, select.POLLIN)
        if waiting.poll(timeout_s * 1000):
            os.read(self._pipe, 65536)

    def wake(self) -> None:
        """Wakes whoever listens; without a listener it does nothing."""
        # No listener: it looks for work before it waits. A full pipe: it is awake already.
        with contextlib.suppress(OSError):
            pipe = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(pipe, b"w")
            finally:
                os.close(pipe)
