"""A PostgreSQL database that the replicas of a service share."""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from brainmri.errors import ScoringRefused, StorageUnavailable

try:
    import psycopg
    from psycopg.rows import dict_row
except ImportError as error:
    raise ScoringRefused(
        "BRAINMRI_JOBS_DATABASE needs an extra. Install it with: uv sync --extra postgresql"
    ) from error

_CONNECT_S = 5
_BOUNDS = (
    "SET statement_timeout = '10s'",
    "SET lock_timeout = '10s'",
    # A process that hangs within a transaction loses its locks.
    "SET idle_in_transaction_session_timeout = '30s'",
)
_WRITERS = 0x6272_6D72
"""The advisory lock of those who write; the letters `brmr`."""


class PostgresConnection:
    """A connection that takes parameters as SQLite does: `?`, and `IS ?` for a comparison that knows NULL.

    Args:
        connection: Of psycopg, with rows as dicts.
    """

    def __init__(self, connection: "psycopg.Connection[dict[str, Any]]") -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> "psycopg.Cursor[dict[str, Any]]":
        """Runs a statement; without parameters, several that semicolons separate."""
        translated_sql = sql.replace("IS ?", "IS NOT DISTINCT FROM ?").replace("?", "%s")
        return self._connection.execute(translated_sql.encode(), parameters or None)


class PostgresDatabase:
    """One connection for all threads of a process, opened when it is first needed and again once it was lost.

    Args:
        url: `postgresql://user:password@host:port/database`; it is never shown.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._open: psycopg.Connection[dict[str, Any]] | None = None

    @contextmanager
    def reading(self) -> Iterator[PostgresConnection]:
        """Lends the connection; each statement is a transaction.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        with self._lock, translated():
            yield PostgresConnection(self._connection())

    @contextmanager
    def transaction(self) -> Iterator[PostgresConnection]:
        """Lends the connection within a transaction.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        with self._lock, translated():
            connection = self._connection()
            with connection.transaction():
                yield PostgresConnection(connection)

    @contextmanager
    def writing(self) -> Iterator[PostgresConnection]:
        """Lends the connection within a transaction, alone among all who write so.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        with self.transaction() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(?)", (_WRITERS,))
            yield connection

    def close(self) -> None:
        """Closes the connection; the next use opens another."""
        with self._lock:
            self._drop()

    def connect(self) -> "psycopg.Connection[dict[str, Any]]":
        """Opens a connection of the caller's own, on which each statement is a transaction.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        with translated():
            connection = psycopg.connect(
                self._url,
                autocommit=True,
                row_factory=dict_row,
                connect_timeout=_CONNECT_S,
                application_name="brainmri",
                keepalives_idle=10,
                tcp_user_timeout=10_000,
            )
            for bound in _BOUNDS:
                connection.execute(bound.encode())
            return connection

    def _connection(self) -> "psycopg.Connection[dict[str, Any]]":
        if self._open is not None:
            try:
                # A connection that was lost shows it only when it is used.
                self._open.execute("SELECT 1")
            except psycopg.Error:
                self._drop()
        if self._open is None:
            self._open = self.connect()
        return self._open

    def _drop(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = None


@contextmanager
def translated() -> Iterator[None]:
    """Makes what psycopg raises an error of this project; without the password that it may quote.

    Raises:
        StorageUnavailable: It raised something.
    """
    try:
        yield
    except psycopg.Error as error:
        reason = re.sub(r"//[^@/\s]*@", "//***@", str(error).strip().splitlines()[0] if str(error) else "")
        raise StorageUnavailable(
            f"The database of jobs does not answer: {reason or type(error).__name__}. Try again later, or ask whoever"
            " runs the server to look at BRAINMRI_JOBS_DATABASE."
        ) from error
