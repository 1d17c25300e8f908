"""Code of the documents, run as it is written there, but for ports and interpreters."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.servers import ROOT

_BLOCK = re.compile(r"^(?:## (?P<heading>[^\n]+)|```(?P<language>\w+)\n(?P<code>.*?)^```)", re.DOTALL | re.MULTILINE)
_COMMANDS = {
    "sh": ["bash", "-euo", "pipefail", "-c"],
    "python": [sys.executable, "-c"],
    "javascript": ["node", "--input-type=module", "--eval"],
}
_INTERPRETERS = {
    ".venv/bin/brainmri": f"{sys.executable} -P -m brainmri",
    ".venv-dev/bin/python": sys.executable,
}
_OF_CHECKOUT = ("brainmri", "docs", "loadtests", "models", "training", "README.md")


@dataclass(frozen=True)
class Block:
    """A piece of code, and the chapter that it stands in."""

    chapter: str
    language: str
    code: str


def blocks(page: str) -> list[Block]:
    """Returns what a reader runs on this page of the checkout, in order; `console` is shown only."""
    found, chapter = [], ""
    for match in _BLOCK.finditer((ROOT / page).read_text()):
        chapter = match["heading"] or chapter
        if match["language"] in _COMMANDS:
            found.append(Block(chapter, match["language"], match["code"]))
    return found


def checkout(folder: Path) -> Path:
    """Makes a folder that looks like the checkout and receives what commands write."""
    for name in _OF_CHECKOUT:
        (folder / name).symlink_to(ROOT / name)
    return folder


def command(block: Block, environ: Mapping[str, str]) -> list[str]:
    """Returns the command line that runs a block against the server of this environment."""
    code = block.code
    for number, variable in ((3000, "BRAINMRI_HTTP_PORT"), (3001, "BRAINMRI_GRPC_PORT")):
        code = code.replace(f"127.0.0.1:{number}", f"127.0.0.1:{environ.get(variable, number)}")
    # In one pass: what a path is replaced by holds the other one.
    code = re.sub("|".join(map(re.escape, _INTERPRETERS)), lambda match: _INTERPRETERS[match[0]], code)
    return [*_COMMANDS[block.language], code]


def run(block: Block, folder: Path, environ: Mapping[str, str], timeout_s: float = 120) -> str:
    """Runs a block in the folder to a good end, and returns what it printed."""
    done = subprocess.run(
        command(block, environ),
        cwd=folder,
        env={**os.environ, **environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{block.chapter}\n{block.code}\n{done.stdout}{done.stderr}"
    return done.stdout
