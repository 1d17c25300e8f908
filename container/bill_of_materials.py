"""Writes what an environment holds as CycloneDX: `bill_of_materials.py REQUIREMENTS ENVIRONMENT PROJECT FILE`.

`REQUIREMENTS` are those of cyclonedx-bom, which gets an environment of its own; `PROJECT` is the pyproject.toml of what
the environment serves.
"""

import subprocess
import sys
from pathlib import Path

from container import locked

TOOL = Path("/build/cyclonedx")


def main(requirements: str, environment: str, project: str, file: str) -> None:
    """Writes `file`, the same for the same environment."""
    locked.install(Path(requirements), TOOL)
    command = [str(TOOL / "bin" / "cyclonedx-py"), "environment", "--output-reproducible", "--pyproject", project]
    python = str(Path(environment) / "bin" / "python")
    subprocess.run([*command, "--mc-type", "application", "--output-file", file, python], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
