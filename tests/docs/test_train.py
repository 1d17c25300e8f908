"""docs/tutorials/train.md: the smoke path run as it is written, and the commands that take hours parsed."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from brainmri.commands.cli import app as brainmri
from brainmri.model.bundle import load_bundle
from tests.docs.written import blocks, checkout, run
from tests.e2e.servers import ROOT
from tests.training.conftest import make_br35h, make_figshare, make_nickparvar
from training.cli import app as training

PAGE = "docs/tutorials/train.md"
SHOWN = re.findall(r"^\$ (.+?)(?: +# .*)?$", (ROOT / PAGE).read_text(), re.MULTILINE)
PROGRAMS = {".venv-dev/bin/python -m training": training, ".venv/bin/brainmri": brainmri}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_smoke_path(tmp_path: Path) -> None:
    data, work, store = tmp_path / "data", tmp_path / "work", tmp_path / "store"
    for folder in (data, work, store):
        folder.mkdir()
    make_nickparvar(data)
    make_figshare(data / "sources")
    make_br35h(data / "sources")
    checkout(work)
    environ = {"BRAINMRI_DATA": str(data), "BENTOML_HOME": str(store), "TF_CPP_MIN_LOG_LEVEL": "3"}
    reproduce, predict = blocks(PAGE)

    run(reproduce, work, environ, timeout_s=800)
    bundle = load_bundle(work / "runs" / "smoke" / "models" / "brain_mri_xception")
    assert bundle.contract.version == "0.0.0-smoke"
    assert bundle.contract.provenance.recipe == "released-smoke"
    assert list(store.iterdir()) == [], "The reader's own store stays as it is."
    assert "docs/slice.jpg" in run(predict, work, environ)
    as_json = replace(predict, code=f"{predict.code.rstrip()} --json\n")
    assert json.loads(run(as_json, work, environ))["model"]["version"] == "0.0.0-smoke"


@pytest.mark.parametrize("line", SHOWN)
def test_a_command_that_takes_hours_is_one_that_the_command_line_takes(line: str) -> None:
    program = next(program for program in PROGRAMS if line.startswith(f"{program} "))
    arguments = shlex.split(line.removeprefix(program))
    _parse(typer.main.get_command(PROGRAMS[program]), arguments)


def test_an_option_that_the_command_line_does_not_know_would_show() -> None:
    with pytest.raises(Exception, match="No such option"):
        _parse(typer.main.get_command(training), ["train", "released", "--resumed"])


def _parse(command: Any, arguments: list[str], parent: Any = None) -> None:
    """Parses a command line down to the command that would run, and runs nothing."""
    if not hasattr(command, "resolve_command"):
        command.make_context(command.name, arguments, parent=parent)
        return
    context = command.context_class(command, parent=parent)
    _, found, rest = command.resolve_command(context, arguments)
    _parse(found, rest, context)
