"""What a benchmark leaves behind: every number as JSON, and a page with the table and how to repeat it."""

import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import typer

from brainmri.settings import available_cpus
from training.release.processor import processor_name

DEFAULT_FOLDER = Path("runs/benchmarks")


@dataclass
class Report:
    """One run of one benchmark.

    Attributes:
        name: Of the benchmark, `python -m benchmarks.<name>`.
        setting: What was measured: bundle, images, durations.
        numbers: Everything, for the JSON file.
        lines: The Markdown text.
    """

    name: str
    setting: dict[str, str]
    numbers: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def add(self, *lines: str) -> None:
        """Adds a paragraph or a table."""
        self.lines.extend((*lines, ""))

    def markdown(self) -> str:
        """Returns the whole text."""
        facts = [f"- {name}: {value}" for name, value in {**machine(), **self.setting}.items()]
        heading = [f"# {self.name}", "", *facts, f"- repeat: `{command(self.name)}`", ""]
        return "\n".join([*heading, *self.lines]).rstrip() + "\n"

    def write(self, stem: Path) -> tuple[Path, Path]:
        """Writes `stem`.json and `stem`.md, and returns their paths."""
        stem.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "name": self.name,
            "command": command(self.name),
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "setting": self.setting,
            **self.numbers,
        }
        paths = stem.with_suffix(".json"), stem.with_suffix(".md")
        paths[0].write_text(json.dumps(content, indent=1) + "\n")
        paths[1].write_text(self.markdown())
        return paths

    def publish(self, stem: Path) -> None:
        """Prints the text, writes what `write` writes, and tells where."""
        typer.echo(self.markdown())
        typer.echo(f"Written: {' '.join(map(str, self.write(stem)))}", err=True)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns the lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def target(name: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> list[str]:
    """Returns the row of a table that compares a figure with what is asked for."""
    # Quotients of floats: 560 and 160 images in 3 s each give 3.4999999999999996.
    low = at_least is None or value >= at_least or math.isclose(value, at_least)
    high = at_most is None or value <= at_most or math.isclose(value, at_most)
    wanted = f"at least {at_least:g}" if at_least is not None else f"at most {at_most:g}"
    return [name, wanted, f"{value:.3g}", "reached" if low and high else "missed"]


def machine() -> dict[str, str]:
    """Describes where this runs."""
    return {
        "processor": processor_name(),
        "CPUs for this process": str(available_cpus()),
        "load average at the end": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "system": platform.platform(),
        "Python": platform.python_version(),
        "versions": ", ".join(f"{name} {version(name)}" for name in ("bentoml", "openvino", "uvloop", "grpcio")),
        "revision": _revision(),
    }


def command(name: str) -> str:
    """Returns the command that repeats this run."""
    return shlex.join(["python", "-m", f"benchmarks.{name}", *sys.argv[1:]])


def _revision() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607 -- whichever git there is
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"
