"""The command `brainmri predict`: a few image files, answered in this process."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from brainmri.errors import BrainMRIError, ImageUnreadable, MalformedRequest
from brainmri.imaging import ReadOptions
from brainmri.model import store
from brainmri.model.contract import LABELS, NOTICE
from brainmri.model.explanation import Explain
from brainmri.model.heat_picture import PALETTES, Style, overlay_png
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Prediction, Predictor
from brainmri.settings import load_settings
from brainmri.web.schemas import error_body, explanation_body, prediction_body


def predict(  # noqa: PLR0913 -- the options of a command
    files: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
    heatmap: Annotated[Path | None, typer.Option(help="Write the slice with its heat map to this PNG file.")] = None,
    label: Annotated[str | None, typer.Option(help="Class that the heat map explains; else the most probable.")] = None,
    opacity: Annotated[str | None, typer.Option(help="Of the strongest evidence, 0 to 1; 0.6 if not given.")] = None,
    palette: Annotated[str | None, typer.Option(help=f"Colours of the heat map: {', '.join(PALETTES)}.")] = None,
    frame: Annotated[int | None, typer.Option(help="Frame or page, from 0; else the usual one.", min=0)] = None,
    force: Annotated[bool, typer.Option("--force", help="Answer for DICOM that is no MRI of a head too.")] = False,
) -> None:
    """Classify image files in this process; exit status 1 if a file cannot be answered."""
    style, explain, options = Style.of(opacity, palette), None, ReadOptions(frame, force)
    if heatmap is not None:
        explain = Explain(label)
        if len(files) != 1:
            raise MalformedRequest(f"--heatmap takes one image file, and {len(files)} are named.", limit="1 file")
    rows = list(_predict(files, explain, options))
    if as_json:
        _print_json(rows)
    else:
        _print_table(rows)
    if heatmap is not None:
        _write_overlay(heatmap, rows[0][1], style)
    if any(isinstance(answer, BrainMRIError) for _, answer in rows):
        raise typer.Exit(1)


def _write_overlay(path: Path, answer: Prediction | BrainMRIError, style: Style) -> None:
    if isinstance(answer, BrainMRIError):
        return
    explanation = answer.explained
    try:
        path.write_bytes(overlay_png(explanation.pixels, explanation.heat_map, style))
    except OSError as error:
        raise BrainMRIError(f"{path} cannot be written: {error.strerror}. Name a file in a folder of yours.") from error


def _predict(
    files: Iterable[Path], explain: Explain | None, options: ReadOptions
) -> Iterator[tuple[Path, Prediction | BrainMRIError]]:
    settings = load_settings()
    bundle = store.ensure(settings.models[0], settings.bundles_folder())
    # One image at a time: streams and full batches would cost memory for nothing.
    predictor = Predictor.open(bundle, replace(ModelOptions.of(settings), streams=1, full_batch=0))
    if explain is not None:
        predictor.require_heat_maps(explain.label)
    predictor.warm_up()
    for file in files:
        try:
            yield file, predictor.predict(_read(file), explain, options)
        except BrainMRIError as error:
            yield file, error


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ImageUnreadable(f"The file cannot be read: {error.strerror}.") from error


def _print_json(rows: Iterable[tuple[Path, Prediction | BrainMRIError]]) -> None:
    for number, (file, answer) in enumerate(rows):
        identity = f"{file.name}-{number}"
        if isinstance(answer, BrainMRIError):
            body = error_body(answer, identity).model_dump()
        else:
            body = prediction_body(answer, identity).model_dump()
            if answer.explanation is not None:
                body |= explanation_body(answer.explanation).model_dump()
        typer.echo(json.dumps({"file": str(file), **body}))


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
