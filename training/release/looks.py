"""How often the test parts were looked at: what was chosen after a look is no longer measured by the next one alone."""

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

LOOKS = Path(__file__).parent / "looks.yaml"


class Look(BaseModel):
    """One look at the test parts.

    Attributes:
        split: First 12 digits of the SHA-256 of the split.
        candidate: What was evaluated.
        macro_f1: By person, as served.
        found: Share of the tumours of another source, held-out groups, that were found.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str = Field(pattern=r"^[0-9a-f]{12}$")
    candidate: str
    macro_f1: Annotated[float, Field(ge=0, le=1)]
    found: Annotated[float, Field(ge=0, le=1)]


def looks_at(split_sha256: str) -> list[Look]:
    """Returns the looks at the test parts of a split, the first one first."""
    listed: Any = yaml.safe_load(LOOKS.read_text())
    return [look for look in TypeAdapter(list[Look]).validate_python(listed) if split_sha256.startswith(look.split)]


def section(split_sha256: str) -> str:
    """Returns the card's section about them; empty for a split whose looks nobody has listed."""
    looks = looks_at(split_sha256)
    if not looks:
        return ""
    lines = [
        "## Looks at the test parts\n",
        "Every candidate that was evaluated on them, in order:\n",
        "| candidate | macro-F1 by person | tumours of another source found |",
        "|---|---|---|",
        *(f"| {look.candidate} | {look.macro_f1:.3f} | {look.found:.3f} |" for look in looks),
    ]
    return "\n".join(lines)
