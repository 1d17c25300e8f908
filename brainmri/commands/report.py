"""The command `brainmri report`: what the model says of images, as a document for people."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import typer

from brainmri import durable
from brainmri.bulk.archives.archive import ArchiveLimits
from brainmri.bulk.frames import Taken
from brainmri.bulk.inputs import Inputs
from brainmri.bulk.items import Item
from brainmri.bulk.quality import folder_label
from brainmri.bulk.sources import Retry, Sources
from brainmri.commands.opened import archive_limits, open_predictor
from brainmri.commands.reading import ForceOption, StepOption, unwritable
from brainmri.errors import BrainMRIError, MalformedRequest, ScoringRefused
from brainmri.imaging import ReadOptions
from brainmri.imaging.nifti import STEP_MM
from brainmri.model.explanation import Explain
from brainmri.model.heat_picture import PALETTES, Style
from brainmri.model.predictor import Prediction, Predictor
from brainmri.report.document import MOST_IMAGES, Entry, Report, entry_of, picture_side, report_of, too_many, wanted
from brainmri.report.html import html
from brainmri.report.pdf import pdf
from brainmri.settings import load_settings

app = typer.Typer(name="report", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)

_FORMS: dict[str, Callable[[Report], bytes]] = {".html": lambda report: html(report).encode(), ".pdf": pdf}
"""Ending of a file's name to what writes it."""


@dataclass(frozen=True)
class _Reading:
    """How every image of one report is read and answered."""

    predictor: Predictor
    force: bool
    explain: Explain | None
    style: Style
    side: int
    labelled: bool

    def entry(self, item: Item, sources: Sources) -> Entry:
        """Returns one image of the report; what is wrong with it is its answer."""
        truth = folder_label(item.path, self.predictor.contract.classes) if self.labelled else None
        answer: Prediction | BrainMRIError
        try:
            data = sources.prepare(item)().data
            answer = self.predictor.predict(data, self.explain, ReadOptions(item.frame, self.force), self.side)
        except BrainMRIError as error:
            answer = error
        return entry_of(item.shown, answer, self.style, self.side, truth)


@app.command()
def report(  # noqa: PLR0913 -- the options of a command
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Image files, folders, quoted patterns, zip or tar archives, tables with a column 'path', or URLs.",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="File to write, .html or .pdf.", show_default=False)],
    labels_from: Annotated[
        Literal["parent-folder"] | None,
        typer.Option(help="Where true labels come from: the name of each image's folder. Adds mistakes and figures."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Class that heat maps explain; else the most probable.")] = None,
    opacity: Annotated[str | None, typer.Option(help="Of the strongest evidence, 0 to 1; 0.6 if not given.")] = None,
    palette: Annotated[str | None, typer.Option(help=f"Colours of heat maps: {', '.join(PALETTES)}.")] = None,
    frame: Annotated[int | None, typer.Option(help="This frame or page alone, from 0.", min=0)] = None,
    force: ForceOption = False,
    step_mm: StepOption = STEP_MM,
) -> None:
    """Write a report about images, each frame for itself, as HTML or PDF; exit status 1 if one has no answer."""
    form, style = _form(out), Style.of(opacity, palette)
    settings, labelled = load_settings(), labels_from is not None
    limits = archive_limits(settings)
    items = _items(inputs, limits, Taken(frame, step_mm))
    predictor = open_predictor(settings)
    reading = _Reading(predictor, force, wanted(predictor, label), style, picture_side(len(items)), labelled)
    with closing(Sources(limits, Retry(), decode=predictor.limits)) as sources:
        entries = [reading.entry(item, sources) for item in items]
    policy, made = settings.novelty_policy, datetime.now(UTC)
    _write(out, form(report_of(predictor, entries, made, policy=policy, style=style, labelled=labelled)))
    failed = sum(entry.prediction is None for entry in entries)
    counted = f"{len(entries)} image{'s' * (len(entries) != 1)}"
    typer.echo(f"{out}: {counted}, {failed} without an answer. {predictor.contract.notice}")
    if failed:
        raise typer.Exit(1)


def _form(out: Path) -> Callable[[Report], bytes]:
    known = _FORMS.get(out.suffix.lower())
    if known is None:
        listed = " or ".join(_FORMS)
        raise MalformedRequest(f"--out is {out.name[:80]!r}. Name a file that ends with {listed}.", limit=listed)
    return known


def _items(inputs: list[str], limits: ArchiveLimits, taken: Taken) -> list[Item]:
    named = Inputs(inputs, limits, taken=taken)
    named.require()
    items = list(islice(named, MOST_IMAGES + 1))
    if not items:
        raise ScoringRefused("The inputs hold no image. Name image files, or folders and archives of them.")
    if len(items) > MOST_IMAGES:
        raise too_many(MOST_IMAGES, "Name fewer, or use brainmri score --report, which takes any number.")
    return items


def _write(out: Path, content: bytes) -> None:
    try:
        durable.write_bytes(out, content)
    except OSError as error:
        raise unwritable(out, error) from error
