"""A real PostgreSQL for tests: Debian's, as a cluster of the tests' own on a free loopback port."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loadtests.server import free_ports

_DEBIAN = Path("/usr/lib/postgresql")


def _folder() -> Path | None:
    """Returns where the programs lie; None where there are none."""
    if (found := shutil.which("initdb")) is not None:
        return Path(found).resolve().parent
    return next(iter(sorted(_DEBIAN.glob("*/bin"), reverse=True)), None)


PROGRAMS = _folder()


class Cluster:
    """A running PostgreSQL.

    Args:
        folder: Of its data.
        port: On the loopback address.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._made = 0

    def url(self, database: str = "postgres") -> str:
        """Returns how a database is reached; the password is not asked for."""
        return f"postgresql://brainmri:secret@127.0.0.1:{self._port}/{database}"

    def database(self) -> str:
        """Makes an empty database; returns its URL."""
        import psycopg  # noqa: PLC0415 -- an extra

        self._made += 1
        name = f"jobs_{self._made}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -k {self._folder} -c fsync=off"
        log = str(self._folder / "log")
        run("pg_ctl", "-D", str(self._folder / "data"), "-l", log, "-o", options, "-w", "-t", "120", "start")

    def stop(self) -> None:
        """Ends it, and whoever is connected."""
        run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "-w", "-t", "60", "stop")


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Runs a PostgreSQL of its own."""
    folder = Path(tempfile.mkdtemp(prefix="brainmri-postgres-"))
    try:
        if (user := _user()) is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        run("initdb", "-D", str(folder / "data"), "-U", "brainmri", "-A", "trust", "-E", "UTF8", "--no-sync")
        started = Cluster(folder, free_ports(1)[0])
        started.start()
        try:
            yield started
        finally:
            started.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(program: str, *arguments: str) -> None:
    """Runs one of PostgreSQL's programs, as somebody else where root runs the tests: it refuses root."""
    assert PROGRAMS is not None
    user = _user()
    who: dict[str, Any] = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    # No pipes: the server that `pg_ctl` leaves behind would keep them open.
    subprocess.run(
        [PROGRAMS / program, *arguments],
        check=True,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        **who,
    )


def _user() -> pwd.struct_passwd | None:
    return pwd.getpwnam("nobody") if os.getuid() == 0 else None
