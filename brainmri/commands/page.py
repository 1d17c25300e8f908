"""The command `brainmri page`: the page as files for a static host."""

from pathlib import Path
from typing import Annotated

import typer

from brainmri.page.export import write_site


def page(
    out: Annotated[Path, typer.Option(help="Folder to write, new or empty.", show_default=False)],
    api: Annotated[str, typer.Option(help="Address of the service that it asks.", show_default=False)],
) -> None:
    """Write the page for people as files for any static host; the service must allow that host's origin (CORS)."""
    write_site(out, api)
    typer.echo(f"{out} holds the page. Set BRAINMRI_CORS_ORIGINS of {api} to the origin that will serve it.")
