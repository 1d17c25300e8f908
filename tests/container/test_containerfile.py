"""The Containerfile as text: hadolint, and what it cannot tell."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.servers import ROOT

CONTAINERFILE = (ROOT / "Containerfile").read_text()
INSTRUCTIONS = [
    line for line in re.sub(r"\\\n\s*", " ", CONTAINERFILE).splitlines() if line and not line.startswith("#")
]
LAST_STAGE = INSTRUCTIONS[max(number for number, line in enumerate(INSTRUCTIONS) if line.startswith("FROM")) :]


def test_hadolint_finds_nothing() -> None:
    hadolint = str(Path(sys.executable).with_name("hadolint"))
    done = subprocess.run([hadolint, "Containerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_stage_rests_on_the_base_that_the_caller_pins() -> None:
    bases = [line.split()[1] for line in INSTRUCTIONS if line.startswith("FROM")]
    assert bases == ["${BASE}", "packages", "packages", "${BASE}"]
    assert "ARG BASE" in INSTRUCTIONS, "A default would be a base that nobody has chosen."


def test_nothing_needs_a_shell() -> None:
    commands = [line for line in INSTRUCTIONS if re.match(r"RUN|CMD|ENTRYPOINT", line)]
    assert len(commands) > 5
    assert [line for line in commands if not re.match(r'\w+ \["', line)] == []


def test_the_image_itself_runs_nothing_while_it_is_built() -> None:
    assert [line for line in LAST_STAGE if line.startswith(("RUN", "ADD"))] == []


@pytest.mark.parametrize("name", ["training", "tests", "benchmarks", "k8s", "docs", ".git", "uv.lock"])
def test_what_the_image_does_not_hold_is_not_sent_to_the_builder(name: str) -> None:
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    assert rules[1] == "*"
    assert not any(rule.startswith(f"!{name}") for rule in rules)
