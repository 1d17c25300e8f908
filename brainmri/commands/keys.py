"""The sub-commands `brainmri keys`: who may call the service."""

from pathlib import Path
from typing import Annotated

import typer

from brainmri.errors import InvalidSettings
from brainmri.settings import load_settings
from brainmri.web.auth import edit_keys, new_key, read_keys

keys = typer.Typer(help="The API keys that the service accepts.", no_args_is_help=True)

File = Annotated[Path | None, typer.Option("--file", help="The file of hashed keys (BRAINMRI_API_KEYS_FILE).")]
Name = Annotated[str, typer.Argument(help="Who holds the key; it appears in the log.")]


@keys.command("add")
def add_key(name: Name, file: File = None) -> None:
    """Make a key and print it, this one time."""
    with edit_keys(path := _file(file)) as known:
        if name in known:
            raise InvalidSettings(f"{path} has a key {name!r} already. Remove it first, or choose another name.")
        key, known[name] = new_key(name)
    typer.echo(f"The key of {name}; it cannot be shown again:", err=True)
    typer.echo(key)


@keys.command("list")
def list_keys(file: File = None) -> None:
    """Show the names of all keys."""
    for key in read_keys(_file(file)):
        typer.echo(key.name)


@keys.command("remove")
def remove_key(name: Name, file: File = None) -> None:
    """Take a key away; servers refuse it within a second."""
    with edit_keys(path := _file(file)) as known:
        if known.pop(name, None) is None:
            raise InvalidSettings(f"{path} has no key {name!r}. `brainmri keys list` shows what it has.")


def _file(given: Path | None) -> Path:
    file = given or load_settings().api_keys_file
    if file is None:
        raise InvalidSettings("Name the file of keys with --file or BRAINMRI_API_KEYS_FILE.")
    return file
