import sys
from pathlib import Path

import pytest

from brainmri.commands.cli import main


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--allow", "A"], "Name either a node with --to AET@HOST:PORT or a folder with --out."),
        (["--allow", "A", "--out", "o", "--to", "B@c:1"], "Name either a node with --to AET@HOST:PORT or a folder"),
        (["--out", "o"], "Nobody may call. Name the AE titles that may with --allow."),
        (["--allow", "A", "--to", "B"], "The destination is 'B'. Write it as AET@HOST:PORT"),
    ],
)
def test_a_wrong_call_of_listen_is_told_before_anything_is_made(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["brainmri", "dicom", "listen", *options])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
