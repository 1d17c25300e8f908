"""What a model was made from: hashes of data and split, and the revision of the code."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Attributes:
        data_sha256: Hash of the audit's manifest.
        split_sha256: Hash of the split.
    """

    data_sha256: str
    split_sha256: str


def code_revision() -> str:
    """Returns the git commit of this checkout, with `-dirty` for uncommitted changes, or `unknown` outside of one."""
    here = Path(__file__).parents[2]
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return commit + ("-dirty" if _git(here, "status", "--porcelain", "--", "*.py") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603
