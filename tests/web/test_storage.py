import errno
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from brainmri.errors import InvalidSettings, StorageFull, StorageUnavailable, status_of
from brainmri.web.spool import require_spool, spool_file, spool_folder, told_disk_errors


@pytest.mark.parametrize(
    ("number", "kind", "status"),
    [
        (errno.ENOSPC, StorageFull, 507),
        (errno.EDQUOT, StorageFull, 507),
        (errno.EROFS, StorageUnavailable, 503),
        (errno.ENOENT, StorageUnavailable, 503),
        (errno.EIO, StorageUnavailable, 503),
    ],
)
def test_what_the_system_says_of_a_disk_is_told_without_a_path(
    number: int, kind: type[StorageUnavailable], status: int
) -> None:
    with pytest.raises(StorageUnavailable) as caught, told_disk_errors():
        raise OSError(number, "the reason", "/secret/path")
    assert (type(caught.value), status_of(caught.value).http) == (kind, status)
    assert "/secret" not in caught.value.message


def test_what_sqlite_says_of_a_disk_is_told_alike() -> None:
    database = sqlite3.connect(":memory:")
    database.execute("PRAGMA max_page_count = 1")
    with closing(database), pytest.raises(StorageFull, match="disk is full"), told_disk_errors():
        database.execute("CREATE TABLE kept (value)")
    with pytest.raises(StorageUnavailable, match="unable to open database file"), told_disk_errors():
        sqlite3.connect("/missing/folder/jobs")


def test_a_connection_that_breaks_is_no_fault_of_the_disk() -> None:
    with pytest.raises(ConnectionResetError), told_disk_errors():
        raise ConnectionResetError


def test_a_file_that_cannot_be_closed_hides_no_other_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: open("/dev/full", "r+b"))  # noqa: PTH123, SIM115
    with pytest.raises(TypeError), spool_file(tmp_path) as file:
        file.writelines([b"x", None])  # type: ignore[list-item]


@pytest.mark.parametrize("folder", ["/proc", "/dev/null", "/missing/folder"])
def test_a_server_whose_spool_cannot_be_written_says_so_at_its_start(folder: str) -> None:
    with pytest.raises(InvalidSettings, match=f"BRAINMRI_SPOOL_DIR={folder} cannot be used: "):
        require_spool(Path(folder))


def test_the_default_spool_is_the_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert spool_folder(None) == tmp_path
    require_spool(None)
    assert list(tmp_path.iterdir()) == []
