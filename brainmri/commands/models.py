"""The sub-commands `brainmri models`: the model store, and which of its models a running server answers with."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from brainmri.errors import InvalidSettings
from brainmri.lifecycle.wanted import WantedFile
from brainmri.model import store
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Predictor
from brainmri.model.warm_up import warm_up
from brainmri.settings import load_settings

models = typer.Typer(help="The models in the BentoML model store.", no_args_is_help=True)


@models.command("list")
def list_models() -> None:
    """Show every model in the store, newest first."""
    table = Table("tag", "created", "size")
    for entry in store.list_models():
        table.add_row(entry.tag, f"{entry.created:%Y-%m-%d %H:%M}", f"{entry.bytes / 2**20:.1f} MiB")
    Console().print(table)


@models.command("import")
def import_model(
    path: Annotated[Path, typer.Argument(help="A bundle's folder, or a .bentomodel file.")],
) -> None:
    """Verify a bundle and put it into the store."""
    typer.echo(store.import_bundle(path) if path.is_dir() else store.import_archive(path))


@models.command("export")
def export_model(
    tag: Annotated[str, typer.Argument(help="name:version or name:latest.")],
    path: Annotated[Path, typer.Argument(help="A folder, or a name that ends with .bentomodel.")] = Path(),
) -> None:
    """Write a model as one .bentomodel file."""
    typer.echo(store.export_bundle(tag, path))


@models.command("activate")
def activate_model(tag: Annotated[str, typer.Argument(help="name:version or name:latest, of the store.")]) -> None:
    """Make a model of the store the default of the running server, without losing a request."""
    settings, file = load_settings(), WantedFile(store.home())
    wanted = file.read()
    if wanted is None:
        raise InvalidSettings(
            f"No server was started with BENTOML_HOME={store.home()}. Start one with: brainmri serve; it serves what"
            " BRAINMRI_MODELS says."
        )
    bundle = store.resolve(tag)
    # Everything that a server will do with it, so that a fault is told here.
    options = replace(ModelOptions.of(settings), threads=1, streams=1, full_batch=0)
    warm_up(Predictor.open(bundle, options), max_batch_size=1)
    file.write(replace(wanted, activated=bundle.contract.tag))
    typer.echo(
        f"Workers load {bundle.contract.tag} now and keep answering with the old model until it is warm, in a few"
        " seconds. GET /model shows which one answers; a worker that cannot load it says so in its log. The next start"
        " serves what BRAINMRI_MODELS says."
    )
