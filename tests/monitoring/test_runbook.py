"""The runbook knows every alert, and names nothing that does not exist."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml
from typer.core import TyperGroup

from brainmri.commands.cli import app
from brainmri.errors import STATUS
from brainmri.settings import Settings
from tests.monitoring.promql import rules
from tests.monitoring.test_dashboard import panels

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "runbook.md").read_text()
PROGRAMS = ("brainmri", "curl", "docker", "grep", "kubectl", "make", "openssl", "promtool", "python", "sort", "uniq")
BATCHER_REASONS = {"queue_full", "deadline", "expired", "draining"}


def section(title: str) -> str:
    """Returns what is below a heading of the second rank."""
    return re.split(r"^## ", TEXT.split(f"## {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def entries() -> dict[str, str]:
    """Returns the entry of each alert."""
    parts = re.split(r"^### (.+)\n", section("Alerts"), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def code() -> Iterator[str]:
    """Yields every piece of code: each line of a block, and what stands between backticks."""
    for block in re.findall(r"^```\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```\n.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL))


def commands(program: str) -> list[list[str]]:
    """Returns the arguments of each call of a program, also of those behind a pipe."""
    pieces = [piece.strip() for line in code() for piece in re.split(r" \| (?=[a-z])", line)]
    return [shlex.split(piece)[1:] for piece in pieces if piece.startswith(f"{program} ")]


def test_every_alert_has_an_entry_and_every_entry_an_alert() -> None:
    assert entries().keys() == {rule["alert"] for rule in rules() if "alert" in rule}


@pytest.mark.parametrize("alert", entries())
def test_an_entry_says_what_to_look_at_and_what_to_do(alert: str) -> None:
    bold = " ".join(re.findall(r"^\*\*(.+?)\.\*\*", entries()[alert], flags=re.MULTILINE)).lower()
    assert [word for word in ("meaning", "first look", "causes", "remedy") if word not in bold] == []


@pytest.mark.parametrize("task", ["Roll out", "Roll back", "Drain", "Scale", "Rotate API keys", "Read a trace"])
def test_what_is_done_by_hand_is_explained(task: str) -> None:
    assert f"### {task}\n" in section("Work by hand")


def test_the_commands_are_of_known_programs() -> None:
    for block in re.findall(r"^```\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            assert line.split()[0] in PROGRAMS, line


def test_the_commands_of_brainmri_exist() -> None:
    called = commands("brainmri")
    assert len(called) >= 6
    for arguments in called:
        command = typer.main.get_command(app)
        while isinstance(command, TyperGroup):
            assert arguments, command.name
            assert arguments[0] in command.commands, arguments
            command = command.commands[arguments.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("--")} <= options


def test_the_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {arguments[0] for arguments in commands("make")} <= targets


def test_the_modules_that_are_run_exist() -> None:
    modules = [arguments[1] for arguments in commands("python")]
    assert modules
    for module in modules:
        assert importlib.util.find_spec(module) is not None, module


def test_the_folders_and_files_exist() -> None:
    named = {piece for piece in code() if re.fullmatch(r"(k8s|monitoring|docs)/[\w./-]+", piece)}
    named |= {arguments[arguments.index("-k") + 1] for arguments in commands("kubectl") if "-k" in arguments}
    named |= {f"docs/{link}" for link in re.findall(r"\]\(([\w./-]+)\)", TEXT)}
    assert len(named) > 5
    for name in named:
        assert (ROOT / name).exists(), name


def test_the_links_inside_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", TEXT, flags=re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", TEXT)) <= anchors


def test_the_objects_of_kubernetes_exist() -> None:
    known = set()
    folders = [ROOT / "k8s" / name for name in ("base", "jobs", "components/keda")]
    for file in [file for folder in folders for file in folder.rglob("*.yaml")]:
        for item in yaml.safe_load_all(file.read_text()):
            known.add((str(item.get("kind")).lower(), item.get("metadata", {}).get("name")))
    named = set()
    for arguments in commands("kubectl"):
        line = " ".join(arguments)
        named |= set(re.findall(r"\b(deployment|job|horizontalpodautoscaler|scaledobject)[/ ](brainmri[\w-]*)", line))
    assert len(named) == 4
    assert named <= known


def test_the_settings_exist() -> None:
    named = set(re.findall(r"BRAINMRI_\w+", TEXT))
    assert named - {f"BRAINMRI_{name.upper()}" for name in Settings.model_fields} == set()


def test_the_panels_exist() -> None:
    titles = {panel["title"] for panel in panels()}
    quoted = set(re.findall(r'(?<![`\w{=])"([A-Z][^"\n]+|p95[^"\n]+)"', "\n".join(entries().values())))
    assert len(quoted) > 8
    assert quoted <= titles


def test_the_codes_of_errors_and_refusals_exist() -> None:
    codes = {error.code for error in STATUS} | BATCHER_REASONS
    named = {word for entry in entries().values() for word in re.findall(r"`([a-z_]+)`:", entry)}
    stages = {"queue", "inference", "decode"}
    assert named - stages <= codes


def test_the_rules_know_where_the_runbook_is() -> None:
    for rule in rules():
        if "alert" in rule:
            file, anchor = rule["annotations"]["runbook_url"].split("#")
            assert (ROOT / file).read_text() == TEXT
            assert anchor in {name.lower() for name in entries()}
