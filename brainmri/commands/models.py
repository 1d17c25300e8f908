"""The sub-commands `brainmri models`: the model store, and which of its models a running server answers with."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from brainmri.errors import InvalidBundle, InvalidSettings
from brainmri.lifecycle.state import ServerState, running_servers
from brainmri.model import store
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Predictor
from brainmri.model.warm_up import warm_up
from brainmri.settings import load_settings

models = typer.Typer(help="The models in the BentoML model store.", no_args_is_help=True)


@models.command("list")
def list_models() -> None:
    """Show every model in the store, newest first, with its figures on held-out persons."""
    table = Table(Column("tag", no_wrap=True), "created", "size", "accuracy", "macro-F1", "images")
    for entry in store.list_models():
        told = ("", "", "")
        if (found := entry.figures) is not None:
            person = found.person
            told = (f"{person.accuracy:.3f}", f"{person.macro_f1:.3f}", str(person.images))
        table.add_row(entry.tag, f"{entry.created:%Y-%m-%d %H:%M}", f"{entry.bytes / 2**20:.1f} MiB", *told)
    Console().print(table)


@models.command("import")
def import_model(
    path: Annotated[Path, typer.Argument(help="A bundle's folder, or a .bentomodel file.")],
) -> None:
    """Verify a bundle and put it into the store."""
    if not path.exists():
        raise InvalidBundle(f"{path} does not exist. Name a bundle's folder or a .bentomodel file.")
    typer.echo(store.import_bundle(path) if path.is_dir() else store.import_archive(path))


@models.command("export")
def export_model(
    tag: Annotated[str, typer.Argument(help="name:version or name:latest.")],
    path: Annotated[Path, typer.Argument(help="A folder, or a name that ends with .bentomodel.")] = Path(),
) -> None:
    """Write a model as one .bentomodel file."""
    typer.echo(store.export_bundle(tag, path))


@models.command("activate")
def activate_model(
    tag: Annotated[str, typer.Argument(help="name:version or name:latest, of the store.")],
    port: Annotated[int | None, typer.Option(help="HTTP port of the server.", envvar="BRAINMRI_HTTP_PORT")] = None,
) -> None:
    """Make a model of the store the default of a running server, without losing a request."""
    settings, file = load_settings(), _server(tag, port).desired
    desired = file.read()
    if desired is None:
        raise InvalidSettings("The server is starting and has not chosen its models yet. Try again in a few seconds.")
    bundle = store.resolve(tag)
    # Everything that a server will do with it, so that a fault is told here.
    options = replace(ModelOptions.of(settings), threads=1, streams=1, full_batch=0)
    warm_up(Predictor.open(bundle, options), max_batch_size=1)
    file.write(replace(desired, activated=bundle.contract.tag))
    typer.echo(
        f"Workers load {bundle.contract.tag} now and keep answering with the old model until it is warm, in a few"
        " seconds. GET /model shows which one answers; a worker that cannot load it says so in its log. The next start"
        " serves what BRAINMRI_MODELS says."
    )


def _server(tag: str, port: int | None) -> ServerState:
    """Returns the running server that is meant.

    Raises:
        InvalidSettings: There is none, or there are several and no port tells which.
    """
    running = running_servers(store.home())
    meant = [server for server in running if port in (None, server.port)]
    if len(meant) == 1:
        return meant[0]
    if not running:
        raise InvalidSettings(
            f"No server is running with BENTOML_HOME={store.home()}. Start one with: brainmri serve; it serves what"
            " BRAINMRI_MODELS says."
        )
    problem = "Several servers are" if meant else f"No server of port {port} is"
    raise InvalidSettings(
        f"{problem} running with BENTOML_HOME={store.home()}. Those that run: {', '.join(map(str, running))}. Name one"
        f" of them, such as: brainmri models activate {tag} --port {running[0].port}"
    )
