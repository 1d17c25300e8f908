"""The files of jobs on a local disk.

    <root>/jobs.sqlite3        what was asked, and how far each job is; see `brainmri.bulk.jobs.sqlite_store`
    <root>/<id>/upload         the archive, if it was uploaded
    <root>/<id>/run/           manifest, parts and results; see `brainmri.bulk.run_folder`

Folders whose name begins with a dot are on their way in or out.
"""

import contextlib
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainmri import durable

_ID = re.compile(r"[0-9a-f]{32}")
_INCOMING, _OUTGOING = ".incoming-", ".outgoing-"


def is_job_id(text: str) -> bool:
    """Tells whether a text has the form of a job's id."""
    return _ID.fullmatch(text) is not None


class JobFolders:
    """A folder for each job.

    Args:
        root: Holds them.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def of(self, identity: str) -> Path:
        """Returns the folder of a job."""
        return self.root / identity

    def all(self) -> list[Path]:
        """Returns the folders of all jobs."""
        return [folder for folder in self.root.iterdir() if is_job_id(folder.name) and folder.is_dir()]

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """Makes the folder of an upload; it is gone after the context unless it was moved in."""
        folder = self.root / f"{_INCOMING}{secrets.token_hex(16)}"
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def move_in(self, folder: Path, identity: str) -> None:
        """Makes the folder of an upload that of a job, durably."""
        folder.rename(self.of(identity))
        durable.sync_folder(self.root)

    def remove(self, identity: str) -> None:
        """Removes the folder of a job; it vanishes for everybody at once, before its files go one by one."""
        outgoing = self.root / f"{_OUTGOING}{identity}"
        with contextlib.suppress(FileNotFoundError):
            self.of(identity).rename(outgoing)
        shutil.rmtree(outgoing, ignore_errors=True)

    def remove_leftovers(self, upload_s: float) -> None:
        """Removes what interrupted deletions left, and uploads older than `upload_s` seconds."""
        for folder in self.root.glob(".*-*"):
            if folder.name.startswith(_OUTGOING) or _older(folder, upload_s):
                shutil.rmtree(folder, ignore_errors=True)

    def older(self, upload_s: float) -> list[Path]:
        """Returns the jobs' folders into which nothing has been moved for `upload_s` seconds."""
        return [folder for folder in self.all() if _older(folder, upload_s)]

    def size(self, identity: str) -> int:
        """Returns the bytes of a job's files; 0 without any."""
        return _size(self.of(identity))

    def incoming_size(self) -> int:
        """Returns the bytes of all uploads that are under way."""
        return sum(_size(folder) for folder in self.root.glob(f"{_INCOMING}*"))


def _older(folder: Path, age_s: float) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return time.time() - folder.stat().st_mtime > age_s
    return False


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total
