"""Files that are there as a whole or not at all, also after a power cut."""

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

Write = Callable[[BinaryIO], object]


def write(path: Path, content: Write, *, mode: int = 0o666) -> None:
    """Writes a file aside, syncs it and renames it to `path`, replacing what was there.

    When any step fails, what was there stays and the file aside is removed.

    Args:
        path: Its folder exists.
        content: Writes the content into the open file.
        mode: Permissions of the file, before the process's umask.

    Raises:
        OSError: The file cannot be written.
    """
    aside = _written_aside(path, content, mode)
    try:
        aside.rename(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_bytes(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Writes content that is in memory; as `write`."""
    write(path, lambda file: file.write(content), mode=mode)


def create(path: Path, content: Write) -> bool:
    """Writes a file unless there is one: of several processes that try, one succeeds.

    Args:
        path: Its folder exists.
        content: Writes the content into the open file.

    Returns:
        Whether this call has made it.

    Raises:
        OSError: The file cannot be written.
    """
    aside = _written_aside(path, content, 0o666)
    try:
        os.link(aside, path)
    except FileExistsError:
        return False
    except OSError:
        # A file system without hard links: the gap between the two calls is the price.
        if path.exists():
            return False
        aside.rename(path)
    finally:
        aside.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def is_full(error: OSError) -> bool:
    """Tells whether a disk, or somebody's share of it, has no room."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def remove_leftovers(folder: Path) -> None:
    """Removes what interrupted calls left aside in a folder; no other process may be writing there."""
    for aside in folder.glob(".*.tmp"):
        aside.unlink(missing_ok=True)


def _written_aside(path: Path, content: Write, mode: int) -> Path:
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            content(file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    return aside


def sync_folder(folder: Path) -> None:
    """Makes what was created, renamed or removed in a folder durable."""
    # The rename is in the folder's data, not in the file's.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
