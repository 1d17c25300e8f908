import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from brainmri import cli, store
from brainmri.cli import main
from tests.tiny import write_tiny_bundle

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    tmp_path: Path, bentoml_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Runs the console script; gives exit status, stdout and stderr."""
    write_tiny_bundle(tmp_path / "models" / "brain_mri_xception", tmp_path)
    monkeypatch.setenv("BRAINMRI_BUNDLES", str(tmp_path / "models"))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["brainmri", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            main()
        out, err = capsys.readouterr()
        return int(exit_info.value.code or 0), out, err

    yield call
    shutil.rmtree(bentoml_home / "models" / "brain_mri_xception", ignore_errors=True)


def test_predict_prints_a_row_for_each_file_and_the_disclaimer(
    run: Run, tmp_path: Path, png: Callable[..., bytes]
) -> None:
    (tmp_path / "blue.png").write_bytes(png((0, 0, 255)))
    status, out, err = run("predict", tmp_path / "blue.png")
    assert status == 0
    assert "pituitary" in out
    assert out.rstrip().endswith("never a diagnosis.")
    assert err == ""


def test_one_bad_file_is_a_row_and_exit_status_1(run: Run, tmp_path: Path, png: Callable[..., bytes]) -> None:
    (tmp_path / "red.png").write_bytes(png())
    (tmp_path / "bad.png").write_bytes(b"text")
    status, out, _ = run("predict", "--json", tmp_path / "bad.png", tmp_path / "red.png", tmp_path / "none.png")
    bad, red, none = [json.loads(line) for line in out.splitlines()]
    assert status == 1
    assert (bad["file"], bad["error"]["code"]) == (str(tmp_path / "bad.png"), "image_unreadable")
    assert (red["label"], red["model"]["version"]) == ("glioma", "0.0.1")
    assert none["error"]["message"] == "The file cannot be read: No such file or directory."


def test_models_are_imported_listed_and_exported(run: Run, tmp_path: Path) -> None:
    tag = "brain_mri_xception:0.0.1"
    assert run("models", "import", tmp_path / "models" / "brain_mri_xception") == (0, tag + "\n", "")
    assert tag in run("models", "list")[1]
    target = tmp_path / "out.bentomodel"
    assert run("models", "export", tag, target) == (0, f"{target}\n", "")
    assert run("models", "import", target) == (0, tag + "\n", "")


def test_an_expected_error_is_one_line_and_exit_status_2(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINMRI_MODELS", "nobody:1")
    status, out, err = run("serve")
    assert (status, out) == (2, "")
    assert err.startswith("brainmri: The store has no model 'nobody:1'.")
    assert err.count("\n") == 1


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command line that `brainmri serve` would become."""
    command: list[str] = []

    def stop(_: str, arguments: list[str]) -> None:
        command.extend(arguments)

    monkeypatch.setattr(os, "execv", stop)
    monkeypatch.setenv("BRAINMRI_MODELS", "brain_mri_xception:latest")
    return command


def test_serve_names_the_released_version_to_the_server(run: Run, tmp_path: Path, replaced: list[str]) -> None:
    store.import_bundle(write_tiny_bundle(tmp_path / "later", tmp_path, version="0.0.2").folder)
    status, _, err = run("serve")
    assert (status, err) == (0, "Serving brain_mri_xception:0.0.1 at http://127.0.0.1:3000\n")
    assert os.environ["BRAINMRI_MODELS"] == "brain_mri_xception:0.0.1"
    assert replaced[-4:] == ["--host", "127.0.0.1", "--port", "3000"]


def test_serve_runs_the_service_of_this_checkout_wherever_it_is_called(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: list[str]
) -> None:
    (tmp_path / "service.py").write_text("raise SystemExit('foreign code')")
    monkeypatch.chdir(tmp_path)
    assert run("serve")[0] == 0
    assert Path(replaced[replaced.index("--working-dir") + 1]) == Path(__file__).parents[1]


def test_without_a_service_file_serve_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: list[str]
) -> None:
    monkeypatch.setattr(cli, "_ROOT", tmp_path)
    status, out, err = run("serve")
    assert (status, out, replaced) == (2, "", [])
    assert err.splitlines()[-1].startswith(f"brainmri: {tmp_path} holds no service.py.")
