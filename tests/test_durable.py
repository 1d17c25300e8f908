from pathlib import Path
from typing import BinaryIO

import pytest

from brainmri import durable


def fail(file: BinaryIO) -> None:
    file.write(b"half")
    raise ValueError("interrupted")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    durable.write(path, lambda file: file.write(b"old"))
    with pytest.raises(ValueError, match="interrupted"):
        durable.write(path, fail)
    assert [(other.name, other.read_bytes()) for other in tmp_path.iterdir()] == [("a", b"old")]


def test_a_write_that_cannot_replace_leaves_nothing_aside(tmp_path: Path) -> None:
    (tmp_path / "a" / "inside").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        durable.write(tmp_path / "a", lambda file: file.write(b"new"))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_has_the_mode_that_was_asked_for(tmp_path: Path) -> None:
    durable.write(tmp_path / "a", lambda file: file.write(b"secret"), mode=0o600)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_of_two_that_create_the_first_wins(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert durable.create(path, lambda file: file.write(b"first"))
    assert not durable.create(path, lambda file: file.write(b"second"))
    assert [(other.name, other.read_bytes()) for other in tmp_path.iterdir()] == [("a", b"first")]


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".a.1234.tmp", ".b.5678.tmp", "a", "c.tmp"):
        (tmp_path / name).touch()
    durable.remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c.tmp"]
