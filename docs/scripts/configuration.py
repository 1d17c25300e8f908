"""Writes `docs/configuration.md`: `python -m docs.scripts.configuration > docs/configuration.md`."""

import sys
from pathlib import Path

from pydantic.fields import FieldInfo

from brainmri.settings import Settings

_HEAD = """# Configuration

Written by `python -m docs.scripts.configuration` from `brainmri/settings.py`; a test compares the two.

A deployment is configured by its environment. A value out of range stops the start with one sentence that quotes it.
Facts about the model, such as labels and temperature, are in its contract instead. Tracing follows the standard
`OTEL_*` variables and is off until `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector (OTLP over HTTP).

Releases up to 0.2.2 called `BRAINMRI_STREAMS` `BRAINMRI_LANES`, and `BRAINMRI_MAX_QUEUE_DELAY_MS`
`BRAINMRI_BATCH_WAIT_MS`. The old names are accepted, with one warning at the start.

| variable | default | meaning |
|---|---|---|
"""

_INTERNAL = "asked_models"
"""Set by `brainmri serve` for its workers, not by people."""


def document() -> str:
    """Returns the text of `docs/configuration.md`."""
    rows = [_row(name, field) for name, field in Settings.model_fields.items() if name != _INTERNAL]
    return _HEAD + "".join(rows)


def _row(name: str, field: FieldInfo) -> str:
    meaning = " ".join((field.description or "").split())
    return f"| `BRAINMRI_{name.upper()}` | {_shown(field.default)} | {meaning} |\n"


def _shown(default: object) -> str:
    if default is None or default == ():
        return ""
    if isinstance(default, tuple):
        return f"`{','.join(default)}`"
    return f"`{default.as_posix() if isinstance(default, Path) else default}`"


if __name__ == "__main__":
    sys.stdout.write(document())
