"""Writes `docs/configuration.md`: `python -m docs.scripts.configuration > docs/configuration.md`."""

import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Gt
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from brainmri.settings import Settings

_HEAD = """# Configuration

Written by `python -m docs.scripts.configuration` from `brainmri/settings.py`; a test compares the two.

A deployment is configured by its environment: `BRAINMRI_HTTP_PORT=8000 brainmri serve`. A value out of range stops the
start with one sentence that quotes it. Facts about the model, such as labels and temperature, are in its contract.

| first of all | |
|---|---|
{first}
Releases up to 0.2.2 called `BRAINMRI_STREAMS` `BRAINMRI_LANES`, and `BRAINMRI_MAX_QUEUE_DELAY_MS`
`BRAINMRI_BATCH_WAIT_MS`. The old names are accepted, with one warning at the start.

| variable | default | accepted | meaning |
|---|---|---|---|
"""

_FIRST = {
    "Let other machines in": "`BRAINMRI_HTTP_HOST=0.0.0.0` and `BRAINMRI_GRPC_HOST=0.0.0.0`; better with keys and TLS"
    " in front.",
    "Ask for keys": "`BRAINMRI_API_KEYS_FILE=keys.txt`. `brainmri keys add NAME` makes it; a caller sends"
    " `Authorization: Bearer KEY` or `X-API-Key: KEY`.",
    "Let pages of other origins call (CORS)": "`BRAINMRI_CORS_ORIGINS=https://viewer.example.org`",
    "Keep models and state elsewhere": "`BENTOML_HOME=/var/lib/brainmri`, by default `~/bentoml`. It holds the model"
    " store, and below `brainmri/` the state of each server, and has to be writable.",
    "Keep jobs": "`BRAINMRI_JOBS_DIR`, a folder on a local disk; of several replicas a shared one, with"
    " `BRAINMRI_JOBS_DATABASE`.",
    "Send traces": "`OTEL_EXPORTER_OTLP_ENDPOINT`, a collector (OTLP over HTTP); the other standard `OTEL_*` variables"
    " count too.",
}
"""What most deployments set, and how."""
_TEXTS: dict[Any, str] = {
    Path: "path",
    Path | None: "path",
    SecretStr | None: "URL",
    tuple[str, ...]: "names separated by commas",
    str: "host name or address",
}
_INTERNAL = "asked_models"
"""Set by `brainmri serve` for its workers, not by people."""


def document() -> str:
    """Returns the text of `docs/configuration.md`."""
    rows = [_row(name, field) for name, field in Settings.model_fields.items() if name != _INTERNAL]
    first = "".join(f"| {what} | {how} |\n" for what, how in _FIRST.items())
    return _HEAD.format(first=first) + "".join(rows)


def _row(name: str, field: FieldInfo) -> str:
    meaning = " ".join((field.description or "").split())
    return f"| `BRAINMRI_{name.upper()}` | {_shown(field.default)} | {_accepted(field)} | {meaning} |\n"


def _accepted(field: FieldInfo) -> str:
    kind = field.annotation
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if kind not in (int, float):
        return _TEXTS.get(kind, "text")
    bounds = {type(bound).__name__: bound for bound in field.metadata}
    low, high = bounds.get("Ge") or bounds.get("Gt"), bounds.get("Le")
    least = "" if low is None else f"above {low.gt:g}" if isinstance(low, Gt) else f"from {low.ge:,g}"
    most = "" if high is None else f"to {high.le:,}"
    return " ".join(part for part in ("whole number" if kind is int else "number", least, most) if part)


def _shown(default: object) -> str:
    if default is None or default == ():
        return ""
    if isinstance(default, tuple):
        return f"`{','.join(default)}`"
    return f"`{default.as_posix() if isinstance(default, Path) else default}`"


if __name__ == "__main__":
    sys.stdout.write(document())
