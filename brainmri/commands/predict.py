"""The command `brainmri predict`: a few images, answered in this process."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from brainmri.bulk.series import SeriesVerdict, by_series
from brainmri.commands.named_slices import Wanted, named_slices
from brainmri.commands.opened import open_predictor
from brainmri.errors import BrainMRIError, MalformedRequest
from brainmri.imaging import FrameOf, ReadOptions
from brainmri.imaging.contents import require_keywords
from brainmri.imaging.nifti import STEP_MM
from brainmri.model.contract import LABELS, NOTICE
from brainmri.model.explanation import Explain
from brainmri.model.heat_picture import PALETTES, Style, overlay_png
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Prediction
from brainmri.settings import load_settings
from brainmri.web.schemas import error_body, explanation_body, prediction_body

_ROOM_OF_ANSWERS = 77
"""Characters of a row of the table beside the file: the other columns at their widest, and all lines between."""
_LEAST_ROOM = 16


@dataclass(frozen=True)
class _Row:
    file: Path
    frame: FrameOf
    answer: Prediction | BrainMRIError
    told: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str | None:
        return None if isinstance(self.answer, BrainMRIError) else self.answer.verdict


def predict(  # noqa: PLR0913 -- the options of a command
    files: Annotated[
        list[Path],
        typer.Argument(help="Images, DICOM objects, NIfTI volumes, DICOMDIR, or folders of these.", show_default=False),
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
    heatmap: Annotated[Path | None, typer.Option(help="Write the slice with its heat map to this PNG file.")] = None,
    label: Annotated[str | None, typer.Option(help="Class that the heat map explains; else the most probable.")] = None,
    opacity: Annotated[str | None, typer.Option(help="Of the strongest evidence, 0 to 1; 0.6 if not given.")] = None,
    palette: Annotated[str | None, typer.Option(help=f"Colours of the heat map: {', '.join(PALETTES)}.")] = None,
    frame: Annotated[int | None, typer.Option(help="This frame or page alone, from 0.", min=0)] = None,
    force: Annotated[bool, typer.Option("--force", help="Answer for DICOM that is no MRI of a head too.")] = False,
    step_mm: Annotated[
        float, typer.Option(help="Distance of the axial slices taken of a NIfTI volume.", min=0.1, max=100)
    ] = STEP_MM,
    tags: Annotated[
        str,
        typer.Option(help="DICOM elements to tell with --json, such as StudyDate,SliceLocation; else none."),
    ] = "",
) -> None:
    """Classify images in this process, each frame for itself; exit status 1 if one cannot be answered.

    For thousands of images use `brainmri score`, which keeps what it has done and writes a table.
    """
    style, explain = Style.of(opacity, palette), None if heatmap is None else Explain(label)
    if heatmap is not None and len(files) != 1:
        raise MalformedRequest(f"--heatmap takes one image file, and {len(files)} are named.", limit="1 file")
    keywords = _keywords(tags, as_json)
    rows = list(_rows(files, explain, Wanted(ReadOptions(frame, force), step_mm, keywords)))
    if heatmap is not None and len(rows) != 1:
        raise MalformedRequest(
            f"--heatmap takes one slice, and {files[0]} holds {len(rows)}. Choose one with --frame.",
            limit="1 slice",
        )
    series = by_series((row.frame.series, row.verdict) for row in rows)
    if as_json:
        _print_json(rows, series)
    else:
        _print_table(rows, series)
    if heatmap is not None:
        _write_overlay(heatmap, rows[0].answer, style)
    if any(isinstance(row.answer, BrainMRIError) for row in rows):
        raise typer.Exit(1)


def _keywords(tags: str, as_json: bool) -> list[str]:
    keywords = [keyword.strip() for keyword in tags.split(",") if keyword.strip()]
    if keywords and not as_json:
        raise MalformedRequest("--tags tells elements in JSON. Name --json as well.")
    require_keywords(keywords)
    return keywords


def _rows(files: list[Path], explain: Explain | None, wanted: Wanted) -> Iterator[_Row]:
    settings = load_settings()
    predictor = open_predictor(settings)
    if explain is not None:
        predictor.require_heat_maps(explain.label)
    predictor.warm_up()
    for named in named_slices(files, wanted, ModelOptions.of(settings).limits):
        if isinstance(named, tuple):
            yield _Row(named[0], FrameOf(), named[1])
            continue
        try:
            answer = predictor.predict(named.load(), explain, named.options)
            yield _Row(named.file, named.frame, answer, named.told)
        except BrainMRIError as error:
            yield _Row(named.file, named.frame, error, named.told)


def _write_overlay(path: Path, answer: Prediction | BrainMRIError, style: Style) -> None:
    if isinstance(answer, BrainMRIError):
        return
    explanation = answer.explained
    try:
        path.write_bytes(overlay_png(explanation.pixels, explanation.heat_map, style))
    except OSError as error:
        raise BrainMRIError(f"{path} cannot be written: {error.strerror}. Name a file in a folder of yours.") from error


def _print_json(rows: Iterable[_Row], series: Mapping[str, SeriesVerdict]) -> None:
    for number, row in enumerate(rows):
        identity, answer = f"{row.file.name}-{number}", row.answer
        if isinstance(answer, BrainMRIError):
            body = error_body(answer, identity).model_dump()
        else:
            body = prediction_body(answer, identity).model_dump()
            if answer.explanation is not None:
                body |= explanation_body(answer.explanation).model_dump()
        belongs = {name: value for name, value in asdict(row.frame).items() if value is not None}
        told = {"tags": dict(row.told)} if row.told else {}
        typer.echo(json.dumps({"file": str(row.file), **belongs, **told, **body}))
    for name, verdict in series.items():
        typer.echo(json.dumps({"series": name, **asdict(verdict)}))


def _print_table(rows: Sequence[_Row], series: Mapping[str, SeriesVerdict]) -> None:
    console = Console()
    names = [str(row.file) if row.frame.frame is None else f"{row.file}, frame {row.frame.frame}" for row in rows]
    # What a pipe or a file receives is as wide as it has to be.
    room = console.width - _ROOM_OF_ANSWERS if console.is_terminal else max(map(len, names), default=0)
    if not console.is_terminal:
        console.width = max(console.width, room + _ROOM_OF_ANSWERS)
    table = Table(*(Column(head, no_wrap=True) for head in ("file", "label", *LABELS, "ms")))
    problems = []
    for row, name in zip(rows, names, strict=True):
        answer = row.answer
        if isinstance(answer, BrainMRIError):
            table.add_row(_end_of(name, room), answer.code)
            problems.append(f"{row.file}: {answer.message}")
            continue
        values = [f"{answer.probabilities[label]:.3f}" for label in LABELS]
        label = answer.label or answer.verdict
        table.add_row(_end_of(name, room), label, *values, f"{answer.timings_ms['total']:.0f}")
    console.print(table)
    for name, found in series.items():
        votes = ", ".join(f"{label} {count}" for label, count in found.votes.items())
        typer.echo(f"Series {name}: {found.verdict}. Of {found.slices} slices {found.answered} have a class: {votes}.")
    for problem in problems:
        typer.echo(problem, err=True)
    typer.echo(NOTICE)


def _end_of(name: str, room: int) -> str:
    """Returns a path that fits into its column: its end tells files apart."""
    room = max(room, _LEAST_ROOM)
    return name if len(name) <= room else f"…{name[1 - room :]}"
