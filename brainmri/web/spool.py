"""Uploads that go to the server's disk, and what is told when the disk is full, read-only, failing or gone."""

import contextlib
import errno
import shutil
import sqlite3
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request

from brainmri import durable
from brainmri.batching.admission import Admitted
from brainmri.batching.call import Deadline
from brainmri.blocking import Threads
from brainmri.bulk.archives.archive import is_archive_name
from brainmri.errors import InvalidSettings, MalformedRequest, StorageFull, StorageUnavailable
from brainmri.settings import Settings
from brainmri.web.body import BodyLimits, declared_length, receive_body, request_too_large
from brainmri.web.call import admitted_of
from brainmri.web.form import FileSink, FormLimits, Write, hand_on_files
from brainmri.web.upload import FIELD_OF_MANY, content_type

_SPARE_BYTES = 256 * 2**20
"""Left free on the disk for others."""

_MOST_NAME_CHARACTERS = 1024


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


async def receive_archive(request: Request, file: BinaryIO, folder: Path, settings: Settings, threads: Threads) -> bool:
    """Writes a body into a file while it arrives, so that little of it is in memory; what it holds is not looked at.

    Args:
        request: The request; its body, an archive or a form with files in the field `images`, is consumed.
        file: Becomes the archive; a form becomes a zip file, without compression.
        folder: Where the file lies.
        settings: Limits on bytes, images, pauses and the pace.
        threads: Those that write.

    Returns:
        Whether it was a form: then every file is meant to be an image, whatever its name.

    Raises:
        RequestTooLarge: More bytes, or more files in the form, than allowed.
        StorageUnavailable: The disk has no room for it, or cannot be written.
        MalformedRequest: Not valid multipart, or a file whose name cannot be used.
        BrainMRIError: Other errors as in `receive_body`.
    """
    deadline = Deadline.after(settings.bulk_timeout_s)
    body = BodyLimits(
        settings.max_archive_bytes,
        settings.upload_idle_timeout_s,
        deadline,
        min_bytes_per_s=settings.upload_min_bytes_per_s,
    )
    admitted = admitted_of(request)
    is_form = content_type(request) == "multipart/form-data"
    with told_disk_errors():
        if declared_length(request) > shutil.disk_usage(folder).free - _SPARE_BYTES:
            raise _full(declared_length(request))
        if is_form:
            form = FormLimits(FIELD_OF_MANY, settings.max_archive_images, settings.max_archive_bytes)
            with _FormPacker(file) as packer:
                through = _Thread(admitted, threads).running
                await hand_on_files(request, body, form, packer.begin, request_too_large, through)
        else:
            await receive_body(request, body, _Thread(admitted, threads).running(file.write))
        await threads.run(file.flush)
    return is_form


class _Thread:
    """Writes in a thread: a disk that is busy must not hold up the event loop."""

    def __init__(self, admitted: Admitted | None, threads: Threads) -> None:
        self._admitted = admitted
        self._threads = threads

    def running(self, write: Callable[[bytes], object]) -> Write:
        async def written(piece: bytes) -> None:
            await self._threads.run(write, piece)
            if self._admitted is not None:
                # It is on disk, and counts no more as held.
                self._admitted.give_back(len(piece))

        return written


class _FormPacker:
    """Packs the files of a form as a zip file, each under the name that the client gave it."""

    def __init__(self, file: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
        self._names: set[str] = set()
        self._sink: _Member | None = None

    def begin(self, name: str) -> FileSink:
        self._check(name)
        self._names.add(name)
        self._end_member()
        self._sink = _Member(self._zip, name)
        return self._sink

    def __enter__(self) -> "_FormPacker":
        return self

    def __exit__(self, *_: object) -> None:
        self._end_member()
        self._zip.close()

    def _end_member(self) -> None:
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def _check(self, name: str) -> None:
        if not name or "\0" in name or name.endswith("/") or len(name) > _MOST_NAME_CHARACTERS:
            raise MalformedRequest(
                f"A file of the form has the name {name[:80]!r}. Give each a name of its own, by which its row of"
                " results is known.",
                limit=f"{_MOST_NAME_CHARACTERS} characters",
            )
        if is_archive_name(name):
            raise MalformedRequest(
                f"The form holds the archive {name[:80]!r}. Send an archive as the body itself, not as a form."
            )
        if name in self._names:
            raise MalformedRequest(
                f"The form holds two files named {name[:80]!r}. Give each a name of its own, such as its path: the"
                " rows of results are known by it."
            )


class _Member:
    """One file being packed."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._member = archive.open(zipfile.ZipInfo(name), "w", force_zip64=True)
        self.extend = self._member.write

    def close(self) -> None:
        self._member.close()


def _full(size: int) -> StorageFull:
    return StorageFull(
        f"The server's disk has no room for {size} bytes more. Send a smaller archive, or try again later."
    )
