from pathlib import Path

import pytest

from brainmri.bulk.archives.archive import ArchiveLimits
from brainmri.bulk.items import Item
from brainmri.bulk.sources import Retry, Sources
from brainmri.bulk.volumes import Volumes
from brainmri.errors import ImageTooLarge, ImageUnreadable, SourceUnreadable
from brainmri.imaging import DecodeLimits
from brainmri.imaging.nifti import Volume


class Disk:
    """Fails so many times before it reads."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)
        self.tries = 0

    def read(self) -> bytes:
        self.tries += 1
        if self._failures:
            raise self._failures.pop(0)
        return b"data"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited, without waiting."""
    found: list[float] = []
    monkeypatch.setattr("brainmri.bulk.sources.time.sleep", found.append)
    return found


def test_a_failure_of_a_moment_is_tried_again_with_growing_uneven_waits(waits: list[float]) -> None:
    disk = Disk(OSError("busy"), RuntimeError("of a library"), TimeoutError())
    assert Retry(tries=4, first_wait_s=1).call(disk.read, "a.png") == b"data"
    assert disk.tries == 4
    assert all(low <= wait <= 3 * low for low, wait in zip((0.5, 1, 2), waits, strict=True))
    assert len(set(waits)) == 3


def test_a_failure_that_stays_is_told_after_the_last_try(waits: list[float]) -> None:
    disk = Disk(*[OSError("busy")] * 9)
    with pytest.raises(SourceUnreadable, match=r"a.png cannot be read after 3 tries: busy\."):
        Retry(tries=3).call(disk.read, "a.png")
    assert disk.tries == 3


def test_what_is_not_there_is_not_tried_again(waits: list[float]) -> None:
    disk = Disk(FileNotFoundError(2, "No such file or directory"))
    with pytest.raises(SourceUnreadable, match="No such file"):
        Retry().call(disk.read, "a.png")
    assert (disk.tries, waits) == (1, [])


def test_a_file_beyond_the_limit_is_not_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bytes(101))
    load = Sources(ArchiveLimits(max_member_bytes=100), Retry()).prepare(Item("1", "a.png", str(tmp_path / "a.png")))
    with pytest.raises(ImageTooLarge, match="more than 100 bytes"):
        load()


def test_a_damaged_volume_is_read_once_for_all_its_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "v.nii", []

    def damaged(asked: Path) -> Volume:
        read.append(asked)
        raise ImageUnreadable("The volume is damaged.")

    path.write_bytes(b"voxels")
    monkeypatch.setattr("brainmri.bulk.volumes.Volume", damaged)
    volumes = Volumes(DecodeLimits())
    for number in (3, 8, None):
        with pytest.raises(ImageUnreadable, match="The volume is damaged"):
            volumes.load(path, number)
    assert read == [path]
