"""The console script `brainmri`: serve, predict, page, models, keys, score, bench."""

import json
import logging
import os
import runpy
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from typer.core import TyperGroup

from brainmri.commands.keys import keys
from brainmri.commands.models import models
from brainmri.commands.page import page
from brainmri.errors import BrainMRIError, ImageUnreadable, MalformedRequest
from brainmri.lifecycle.ports import require_free
from brainmri.model import store
from brainmri.model.contract import LABELS, NOTICE
from brainmri.model.explanation import Explain
from brainmri.model.heat_picture import PALETTES, Style, overlay_png
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Prediction, Predictor
from brainmri.observe import logs
from brainmri.settings import load_settings
from brainmri.web.schemas import error_body, explanation_body, prediction_body


class _Commands(TyperGroup):
    """All commands; `score` brings pyarrow and `bench` the runtimes, so each is imported only when it is wanted."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Returns their names, for the help."""
        return [*super().list_commands(ctx), "score", "bench"]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Returns one of them, or None."""
        if cmd_name == "score":
            from brainmri.commands.score import score  # noqa: PLC0415 -- see above

            return typer.main.get_command(score)
        if cmd_name == "bench":
            from brainmri.commands.bench import bench  # noqa: PLC0415 -- see above

            return typer.main.get_command(bench)
        return super().get_command(ctx, cmd_name)


app = typer.Typer(
    cls=_Commands,
    help="Classifies brain-MRI slices. Research use only, never a diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(models, name="models")
app.add_typer(keys, name="keys")

_ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Runs the command line; an expected error is one line on stderr and exit status 2."""
    try:
        app()
    except BrainMRIError as error:
        typer.echo(f"brainmri: {error.message}", err=True)
        sys.exit(2)


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
    logging.getLogger(__name__).info("Serving %s at http://%s:%d", tags, where, number)
    command = ["bentoml", "serve", "service:BrainMRI", "--working-dir", str(_service_folder())]
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    # The store's latest need not be the one that was just announced.
    os.environ.update(BRAINMRI_MODELS=tags, BRAINMRI_ASKED_MODELS=",".join(settings.models))
    os.environ["BRAINMRI_BUNDLES"] = str(folder.absolute())
    # Whatever BentoML takes a container for, it must replace a worker that has died.
    os.environ.pop("BENTOML_CONTAINERIZED", None)
    command += ["--host", where, "--port", str(number)]
    command += ["--timeout-keep-alive", str(settings.keep_alive_s)]
    # The worker waits for what was accepted before it lets the HTTP server stop; what is left then is late.
    command += ["--timeout-graceful-shutdown", "1"]
    # In this process, so that signals reach the server itself, and nothing is imported twice.
    sys.argv = command
    runpy.run_module("bentoml", run_name="__main__", alter_sys=True)


@app.command()
def predict(
    files: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
    heatmap: Annotated[Path | None, typer.Option(help="Write the slice with its heat map to this PNG file.")] = None,
    label: Annotated[str | None, typer.Option(help="Class that the heat map explains; else the most probable.")] = None,
    opacity: Annotated[str | None, typer.Option(help="Of the strongest evidence, 0 to 1; 0.6 if not given.")] = None,
    palette: Annotated[str | None, typer.Option(help=f"Colours of the heat map: {', '.join(PALETTES)}.")] = None,
) -> None:
    """Classify image files in this process; exit status 1 if a file cannot be answered."""
    style, explain = Style.of(opacity, palette), None
    if heatmap is not None:
        explain = Explain(label)
        if len(files) != 1:
            raise MalformedRequest(f"--heatmap takes one image file, and {len(files)} are named.", limit="1 file")
    rows = list(_predict(files, explain))
    if as_json:
        for number, (file, answer) in enumerate(rows):
            identity = f"{file.name}-{number}"
            if isinstance(answer, BrainMRIError):
                body = error_body(answer, identity).model_dump()
            else:
                body = prediction_body(answer, identity).model_dump()
                if answer.explanation is not None:
                    body |= explanation_body(answer.explanation).model_dump()
            typer.echo(json.dumps({"file": str(file), **body}))
    else:
        _print_table(rows)
    if heatmap is not None:
        _write_overlay(heatmap, rows[0][1], style)
    if any(isinstance(answer, BrainMRIError) for _, answer in rows):
        raise typer.Exit(1)


app.command()(page)


def _write_overlay(path: Path, answer: Prediction | BrainMRIError, style: Style) -> None:
    if isinstance(answer, BrainMRIError):
        return
    explanation = answer.explained
    try:
        path.write_bytes(overlay_png(explanation.pixels, explanation.heat_map, style))
    except OSError as error:
        raise BrainMRIError(f"{path} cannot be written: {error.strerror}. Name a file in a folder of yours.") from error


def _predict(files: Iterable[Path], explain: Explain | None) -> Iterator[tuple[Path, Prediction | BrainMRIError]]:
    settings = load_settings()
    bundle = store.ensure(settings.models[0], settings.bundles_folder())
    # One image at a time: streams and full batches would cost memory for nothing.
    predictor = Predictor.open(bundle, replace(ModelOptions.of(settings), streams=1, full_batch=0))
    if explain is not None:
        predictor.require_heat_maps(explain.label)
    predictor.warm_up()
    for file in files:
        try:
            yield file, predictor.predict(_read(file), explain)
        except BrainMRIError as error:
            yield file, error


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ImageUnreadable(f"The file cannot be read: {error.strerror}.") from error


def _print_table(rows: Iterable[tuple[Path, Prediction | BrainMRIError]]) -> None:
    table = Table(Column("file", overflow="fold"), *(Column(name, no_wrap=True) for name in ("label", *LABELS, "ms")))
    problems = []
    for file, answer in rows:
        if isinstance(answer, BrainMRIError):
            table.add_row(str(file), answer.code)
            problems.append(f"{file}: {answer.message}")
            continue
        values = [f"{answer.probabilities[label]:.3f}" for label in LABELS]
        table.add_row(str(file), answer.label or answer.verdict, *values, f"{answer.timings_ms['total']:.0f}")
    Console().print(table)
    for problem in problems:
        typer.echo(problem, err=True)
    typer.echo(NOTICE)


def _service_folder() -> Path:
    # Never the working directory's: that may be anybody's code.
    if not (_ROOT / "service.py").is_file():
        raise BrainMRIError(f"{_ROOT} holds no service.py. Run brainmri serve from an installation of the checkout.")
    return _ROOT
