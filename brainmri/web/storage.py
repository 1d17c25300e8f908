"""A disk that is full, read-only, failing or gone, told to the caller in one sentence."""

import contextlib
import errno
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from brainmri import durable
from brainmri.errors import InvalidSettings, StorageFull, StorageUnavailable


@contextmanager
def told_disk_errors() -> Iterator[None]:
    """Turns what the system says of a disk into an error for the caller; no path of the server is in it.

    Raises:
        StorageFull: There is no room.
        StorageUnavailable: Anything else.
    """
    try:
        yield
    except ConnectionError:
        raise
    except OSError as error:
        raise storage_error(error) from error
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise storage_error(OSError(errno.ENOSPC, "full")) from error
        raise storage_error(OSError(errno.EIO, str(error))) from error


def storage_error(error: OSError) -> StorageUnavailable:
    """Returns the error for what the system says of a disk."""
    if durable.is_full(error) or error.errno == errno.EFBIG:
        return StorageFull("The server's disk is full. Send a smaller archive, or try again later.")
    reason = error.strerror or type(error).__name__
    return StorageUnavailable(
        f"The server's disk cannot be used: {reason}. Try again later; if it stays, tell whoever runs the server."
    )


def spool_folder(chosen: Path | None) -> Path:
    """Returns where uploads lie until they are answered, by default the system's folder for temporary files."""
    return chosen or Path(tempfile.gettempdir())


@contextmanager
def spool_file(folder: Path) -> Iterator[BinaryIO]:
    """Opens a file without a name: it is gone with the process, however that ends.

    Raises:
        StorageUnavailable: The folder cannot be written to.
    """
    with told_disk_errors():
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 -- its errors are told apart
    try:
        yield file
    finally:
        # On a full disk closing fails as well, which nobody needs to know.
        with contextlib.suppress(OSError):
            file.close()


def require_spool(chosen: Path | None) -> None:
    """Looks whether uploads can be written, so that a server that could not take any says so at its start.

    Raises:
        InvalidSettings: They cannot.
    """
    folder = spool_folder(chosen)
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(b"x")
    except OSError as error:
        raise InvalidSettings(
            f"BRAINMRI_SPOOL_DIR={folder} cannot be used: {error.strerror}. Name a folder that can be written to."
        ) from error
