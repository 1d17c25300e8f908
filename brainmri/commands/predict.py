"""The command `brainmri predict`: a few images, answered in this process."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from brainmri.bulk.archives.archive import ArchiveLimits
from brainmri.bulk.chosen import left_out_lines
from brainmri.bulk.frames import Taken
from brainmri.bulk.inputs import Inputs
from brainmri.bulk.items import Item, item_id
from brainmri.bulk.series import SeriesVerdict, SeriesVotes, series_line
from brainmri.bulk.sources import Retry, Sources
from brainmri.commands.opened import archive_limits, open_predictor
from brainmri.commands.reading import ForceOption, StepOption, TagsOption, keywords_of, unlisted, unwritable
from brainmri.errors import BrainMRIError, MalformedRequest, ScoringRefused
from brainmri.imaging import ReadOptions
from brainmri.imaging.contents import elements_of
from brainmri.imaging.nifti import STEP_MM
from brainmri.model.contract import NOTICE, RELEASED_CLASSES, Classes
from brainmri.model.explanation import Explain
from brainmri.model.heat_picture import PALETTES, Style, overlay_png
from brainmri.model.predictor import Prediction, Predictor
from brainmri.report.words import MOST_COLUMNS, likeliest
from brainmri.settings import load_settings
from brainmri.web.schemas import error_body, explanation_body, prediction_body

_ROOM_OF_ANSWERS = 77
"""Characters of a row of the table beside the file: the other columns at their widest, and all lines between."""
_LEAST_ROOM = 16


@dataclass(frozen=True)
class _Row:
    item: Item
    answer: Prediction | BrainMRIError
    told: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str | None:
        return None if isinstance(self.answer, BrainMRIError) else self.answer.verdict


@dataclass(frozen=True)
class _Asked:
    """What is asked of every image."""

    explain: Explain | None
    taken: Taken
    force: bool
    keywords: Sequence[str]


def predict(  # noqa: PLR0913 -- the options of a command
    files: Annotated[
        list[str],
        typer.Argument(
            help="Images, DICOM objects, NIfTI volumes, DICOMDIR, folders of these, or what brainmri score takes.",
            show_default=False,
        ),
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
    heatmap: Annotated[Path | None, typer.Option(help="Write the slice with its heat map to this PNG file.")] = None,
    label: Annotated[str | None, typer.Option(help="Class that the heat map explains; else the most probable.")] = None,
    opacity: Annotated[str | None, typer.Option(help="Of the strongest evidence, 0 to 1; 0.6 if not given.")] = None,
    palette: Annotated[str | None, typer.Option(help=f"Colours of the heat map: {', '.join(PALETTES)}.")] = None,
    frame: Annotated[int | None, typer.Option(help="This frame or page alone, from 0.", min=0)] = None,
    force: ForceOption = False,
    step_mm: StepOption = STEP_MM,
    tags: TagsOption = "",
) -> None:
    """Classify images in this process, each frame for itself; exit status 1 if one cannot be answered.

    For thousands of images use `brainmri score`, which keeps what it has done and writes a table.
    """
    style, explain = Style.of(opacity, palette), None if heatmap is None else Explain(label)
    if heatmap is not None and len(files) != 1:
        raise MalformedRequest(f"--heatmap takes one image file, and {len(files)} are named.", limit="1 file")
    keywords = keywords_of(tags)
    if keywords and not as_json:
        raise MalformedRequest("--tags tells elements in JSON. Name --json as well.")
    rows = list(_rows(files, _Asked(explain, Taken(frame, step_mm), force, keywords)))
    if heatmap is not None and len(rows) != 1:
        raise MalformedRequest(
            f"--heatmap takes one slice, and {files[0]} holds {len(rows)}. Choose one with --frame.",
            limit="1 slice",
        )
    votes = SeriesVotes(_classes(rows))
    for row in rows:
        votes.add(row.item.series, row.verdict)
    series = votes.verdicts()
    if as_json:
        _print_json(rows, series)
    else:
        _print_table(rows, series)
    if heatmap is not None:
        _write_overlay(heatmap, rows[0].answer, style)
    if any(isinstance(row.answer, BrainMRIError) for row in rows):
        raise typer.Exit(1)


def _rows(files: list[str], asked: _Asked) -> Iterator[_Row]:
    settings = load_settings()
    predictor = open_predictor(settings)
    if asked.explain is not None:
        predictor.require_heat_maps(asked.explain.label)
    predictor.warm_up()
    limits = archive_limits(settings)
    with closing(Sources(limits, Retry(), decode=predictor.limits)) as sources:
        for file in files:
            try:
                for item in _items(file, limits, asked.taken):
                    yield _row(item, predictor, sources, asked)
            except (BrainMRIError, OSError) as error:
                refused = error if isinstance(error, BrainMRIError) else unlisted(file, error)
                yield _Row(Item(item_id(file), file, file), refused)


def _items(file: str, limits: ArchiveLimits, taken: Taken) -> Iterator[Item]:
    inputs, count = Inputs([file], limits, taken=taken), 0
    for item in inputs:
        count += 1
        yield item
    left_out = left_out_lines(inputs.left_out)
    if not count:
        beside = "".join(f" {line}" for line in left_out)
        raise ScoringRefused(
            f"{file} holds no image.{beside} Name images, DICOM objects, NIfTI volumes, or folders of these."
        )
    for line in left_out:
        typer.echo(f"{file}: {line}", err=True)


def _row(item: Item, predictor: Predictor, sources: Sources, asked: _Asked) -> _Row:
    told: Mapping[str, str] = {}
    try:
        data = sources.prepare(item)().data
        told = elements_of(data, asked.keywords) if isinstance(data, bytes) else {}
        return _Row(item, predictor.predict(data, asked.explain, ReadOptions(item.frame, asked.force)), told)
    except BrainMRIError as error:
        return _Row(item, error, told)


def _write_overlay(path: Path, answer: Prediction | BrainMRIError, style: Style) -> None:
    if isinstance(answer, BrainMRIError):
        return
    explanation = answer.explained
    try:
        path.write_bytes(overlay_png(explanation.pixels, explanation.heat_map, style))
    except OSError as error:
        raise unwritable(path, error) from error


def _classes(rows: Iterable[_Row]) -> Classes:
    """Returns what the model tells apart; that of the released ones where no image has an answer."""
    answers = (row.answer for row in rows)
    return next((answer.model.classes for answer in answers if isinstance(answer, Prediction)), RELEASED_CLASSES)


def _print_json(rows: Iterable[_Row], series: Mapping[str, SeriesVerdict]) -> None:
    for number, row in enumerate(rows):
        item, answer = row.item, row.answer
        identity = f"{PurePath(item.path).name}-{number}"
        if isinstance(answer, BrainMRIError):
            body = error_body(answer, identity).model_dump()
        else:
            body = prediction_body(answer, identity).model_dump()
            if answer.explanation is not None:
                body |= explanation_body(answer.explanation).model_dump()
        place = {"frame": item.frame, "instance": item.instance, "series": item.series}
        belongs = {name: value for name, value in place.items() if value is not None}
        told = {"tags": dict(row.told)} if row.told else {}
        typer.echo(json.dumps({"file": item.path, **belongs, **told, **body}))
    for name, verdict in series.items():
        typer.echo(json.dumps({"series": name, **asdict(verdict)}))


def _print_table(rows: Sequence[_Row], series: Mapping[str, SeriesVerdict]) -> None:
    console = Console()
    names = [row.item.shown for row in rows]
    # What a pipe or a file receives is as wide as it has to be.
    room = console.width - _ROOM_OF_ANSWERS if console.is_terminal else max(map(len, names), default=0)
    if not console.is_terminal:
        console.width = max(console.width, room + _ROOM_OF_ANSWERS)
    labels = _classes(rows).labels
    heads = labels if len(labels) <= MOST_COLUMNS else ("likeliest",)
    table = Table(*(Column(head, no_wrap=True) for head in ("file", "verdict", *heads, "ms")))
    problems = []
    for row, name in zip(rows, names, strict=True):
        answer = row.answer
        if isinstance(answer, BrainMRIError):
            table.add_row(_end_of(name, room), answer.code)
            problems.append(f"{name}: {answer.message}")
            continue
        values = [f"{share:.3f}" for share in answer.probabilities.values()]
        if len(values) > MOST_COLUMNS:
            values = [likeliest(answer)]
        table.add_row(_end_of(name, room), answer.verdict, *values, f"{answer.timings_ms['total']:.0f}")
    console.print(table)
    for name, found in series.items():
        typer.echo(series_line(name, found))
    for problem in problems:
        typer.echo(problem, err=True)
    typer.echo(NOTICE)


def _end_of(name: str, room: int) -> str:
    """Returns a path that fits into its column: its end tells files apart."""
    room = max(room, _LEAST_ROOM)
    return name if len(name) <= room else f"…{name[1 - room :]}"
