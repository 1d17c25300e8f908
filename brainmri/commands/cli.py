"""The console script `brainmri`: serve, predict, page, models, keys, dicom, score, report, bench."""

import logging
import os
import runpy
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from brainmri import __version__
from brainmri.commands.dicom import dicom
from brainmri.commands.keys import keys
from brainmri.commands.models import models
from brainmri.commands.page import page
from brainmri.commands.predict import predict
from brainmri.errors import BrainMRIError
from brainmri.lifecycle.listener import require_free
from brainmri.model import store
from brainmri.observe import logs
from brainmri.settings import Settings, load_settings


class _Commands(TyperGroup):
    """All commands; `score` brings pyarrow, `report` ReportLab, `bench` the runtimes; each is imported when wanted."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Returns their names, for the help."""
        return [*super().list_commands(ctx), "score", "report", "bench"]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Returns one of them, or None."""
        if cmd_name == "score":
            from brainmri.commands.score import score  # noqa: PLC0415 -- see above

            return typer.main.get_command(score)
        if cmd_name == "report":
            from brainmri.commands.report import app as report  # noqa: PLC0415 -- see above

            return typer.main.get_command(report)
        if cmd_name == "bench":
            from brainmri.commands.bench import bench  # noqa: PLC0415 -- see above

            return typer.main.get_command(bench)
        return super().get_command(ctx, cmd_name)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(models, name="models")
app.add_typer(keys, name="keys")
app.add_typer(dicom, name="dicom")

_ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Runs the command line; an expected error is one line on stderr and exit status 2."""
    try:
        app()
    except BrainMRIError as error:
        typer.echo(f"brainmri: {error.message}", err=True)
        sys.exit(2)
    except OSError as error:
        typer.echo(f"brainmri: {error}. Check that the path can be read.", err=True)
        sys.exit(2)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"brainmri {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Classify brain-MRI slices. Research use only, never a diagnosis."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (BRAINMRI_HTTP_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port (BRAINMRI_HTTP_PORT).", min=1, max=65535)] = None,
) -> None:
    """Start the service, HTTP and gRPC; imports the released model first."""
    settings = load_settings()
    folder = settings.bundles_folder()
    bundles = [store.ensure(tag, folder) for tag in settings.models]
    tags = ",".join(bundle.contract.tag for bundle in bundles)
    where, number = host or settings.http_host, port or settings.http_port
    require_free(where, number, "BRAINMRI_HTTP_PORT")
    if settings.grpc_port:
        require_free(settings.grpc_host, settings.grpc_port, "BRAINMRI_GRPC_PORT")
    logs.configure(settings.log_format, settings.log_level)
    logging.getLogger(__name__).info("Starting %s on %s:%d", tags, where, number)
    command = ["bentoml", "serve", "service:BrainMRI", "--working-dir", str(_service_folder())]
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    # The store's latest need not be the one that was just announced.
    os.environ.update(BRAINMRI_MODELS=tags, BRAINMRI_ASKED_MODELS=",".join(settings.models))
    os.environ["BRAINMRI_BUNDLES"] = str(folder.absolute())
    _fix_paths(settings)
    # Hosts are checked by the address, and the server's state lies by the port, that are really listened on.
    os.environ.update(BRAINMRI_HTTP_HOST=where, BRAINMRI_HTTP_PORT=str(number))
    # Whatever BentoML takes a container for, it must replace a worker that has died.
    os.environ.pop("BENTOML_CONTAINERIZED", None)
    command += ["--host", where, "--port", str(number)]
    command += ["--timeout-keep-alive", str(settings.keep_alive_s)]
    # The worker waits for what was accepted before it lets the HTTP server stop; what is left then is late.
    command += ["--timeout-graceful-shutdown", "1"]
    # In this process, so that signals reach the server itself, and nothing is imported twice.
    sys.argv = command
    runpy.run_module("bentoml", run_name="__main__", alter_sys=True)


app.command()(predict)
app.command()(page)


def _fix_paths(settings: Settings) -> None:
    """Makes paths absolute for the workers, which run in the folder of the service."""
    for name, value in settings:
        if isinstance(value, Path) and name != "bundles":
            os.environ[f"BRAINMRI_{name.upper()}"] = str(value.absolute())


def _service_folder() -> Path:
    # Never the working directory's: that may be anybody's code.
    if not (_ROOT / "service.py").is_file():
        raise BrainMRIError(f"{_ROOT} holds no service.py. Run brainmri serve from an installation of the checkout.")
    return _ROOT
