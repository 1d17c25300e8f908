"""A SQLite file that the processes of one host share."""

import errno
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainmri.errors import StorageFull

_WAIT_S = 10.0
"""For another process that writes; a write takes milliseconds."""


class Database:
    """One connection for all threads of a process, opened when it is first needed.

    Args:
        path: Of the file; its folder exists.
        schema: Statements that create what is missing.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        self._schema = schema
        self._lock = threading.Lock()
        self._open: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lends the connection.

        Raises:
            OSError: The file cannot be read.
        """
        with self._lock, _translated():
            yield self._connection()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Lends the connection, alone among all processes; all that is written is durable, or nothing is.

        Raises:
            StorageFull: The disk has no room.
            OSError: The file cannot be written.
        """
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def close(self) -> None:
        """Closes the connection; the next use opens another."""
        with self._lock:
            if self._open is not None:
                self._open.close()
            self._open = None

    def _connection(self) -> sqlite3.Connection:
        if self._open is not None and file_identity(self._path) != self._opened:
            # The folder was removed or replaced: what went into the old file would be seen by nobody.
            self._open.close()
            self._open = None
        if self._open is None:
            # The lock makes threads take turns. Without an isolation level transactions begin where the code says so.
            connection = sqlite3.connect(self._path, _WAIT_S, isolation_level=None, check_same_thread=False)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            # A status that was answered for outlives a power cut.
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(self._schema)
            self._open, self._opened = connection, file_identity(self._path)
        return self._open


def file_identity(path: Path) -> tuple[int, int] | None:
    """Returns which file has a name now, as device and inode; None if none has."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise StorageFull(
                "The server's disk has no room for another job. Delete jobs that have ended, or try again later."
            ) from error
        raise OSError(errno.EIO, f"the database of jobs: {error}") from error
