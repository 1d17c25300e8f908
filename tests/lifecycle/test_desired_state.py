from pathlib import Path

import pytest

from brainmri.errors import InvalidSettings
from brainmri.lifecycle.desired_state import DesiredState, DesiredStateFile


@pytest.mark.parametrize(
    ("configured", "activated", "tags"),
    [
        (("a:1", "b:1"), None, ("a:1", "b:1")),
        (("a:1", "b:1"), "a:2", ("a:2", "b:1")),
        (("a:1", "b:1"), "b:2", ("b:2", "a:1")),
        (("a:1", "a:2", "b:1"), "a:2", ("a:2", "a:1", "b:1")),
        (("a:1", "b:1"), "c:1", ("c:1", "a:1", "b:1")),
    ],
    ids=["nothing activated", "new version", "of another name", "already served", "new name"],
)
def test_the_activated_model_is_the_default_in_place_of_the_one_of_its_name(
    configured: tuple[str, ...], activated: str | None, tags: tuple[str, ...]
) -> None:
    assert DesiredState(configured, activated).tags == tags


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = DesiredStateFile(tmp_path)
    assert (file.read(), file.stamp()) == (None, None)
    for desired in (DesiredState(("a:1", "b:1")), DesiredState(("a:1",), "a:2")):
        file.write(desired)
        assert file.read() == desired


def test_every_write_changes_the_stamp_even_if_it_says_the_same(tmp_path: Path) -> None:
    file = DesiredStateFile(tmp_path)
    stamps = []
    for _ in range(3):
        file.write(DesiredState(("a:1",)))
        stamps.append(file.stamp())
    assert len(set(stamps)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["desired.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"configured": ["a:1"]}'])
def test_a_file_that_nobody_of_this_project_wrote_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "desired.json").write_text(text)
    with pytest.raises(InvalidSettings, match=r"desired\.json cannot be read"):
        DesiredStateFile(tmp_path).read()


def test_a_home_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in the way")
    with pytest.raises(InvalidSettings, match="Set BENTOML_HOME to a folder that can be written"):
        DesiredStateFile(tmp_path / "state").write(DesiredState(("a:1",)))
