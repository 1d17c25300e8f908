import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from brainmri.commands.cli import main
from tests.tiny import write_tiny_bundle

Run = Callable[..., tuple[int, str, str]]


def called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> tuple[int, str, str]:
    """Runs the console script; returns exit status, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["brainmri", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_info:
        main()
    out, err = capsys.readouterr()
    return int(exit_info.value.code or 0), out, err


@pytest.fixture
def score(
    tmp_path: Path, bentoml_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Runs `brainmri score` in a folder with a bundle; gives exit status, stdout and stderr."""
    write_tiny_bundle(tmp_path / "models" / "brain_mri_xception", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRAINMRI_BUNDLES", str(tmp_path / "models"))
    monkeypatch.setenv("BRAINMRI_THREADS", "1")
    monkeypatch.setenv("COLUMNS", "200")

    yield partial(called, monkeypatch, capsys, "score")
    shutil.rmtree(bentoml_home / "models" / "brain_mri_xception", ignore_errors=True)
