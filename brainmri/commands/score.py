"""The commands `brainmri score` and `brainmri score merge`: many images in, a table of results out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from typer.core import TyperGroup

from brainmri.bulk.child import Work
from brainmri.bulk.console import print_outcome
from brainmri.bulk.finish import finish
from brainmri.bulk.frames import Taken
from brainmri.bulk.heat_maps import HeatMapFolder
from brainmri.bulk.join import require_same_run
from brainmri.bulk.model import OpenBundle
from brainmri.bulk.progress import RunProgress
from brainmri.bulk.run import SHARD_SIZE, Engine, Request, Scored, Share, check, open_run
from brainmri.bulk.run import score as score_share
from brainmri.bulk.run import shard_size as shard_size_of
from brainmri.bulk.run_folder import Format, Method, Record, RunFolder
from brainmri.bulk.sources import Retry
from brainmri.bulk.supervisor import Supervisor
from brainmri.commands.opened import archive_limits
from brainmri.commands.reading import ForceOption, StepOption, TagsOption, keywords_of
from brainmri.dicom.folder import DicomFolder
from brainmri.dicom.source import require_writer
from brainmri.errors import ScoringHopeless
from brainmri.imaging.nifti import STEP_MM
from brainmri.model import store
from brainmri.model.bundle import Bundle, load_bundle
from brainmri.model.explanation import require_explanation
from brainmri.report.score import write_report
from brainmri.settings import Settings, load_settings

SOME_FAILED, HOPELESS, INPUT_OUTPUT, INTERRUPTED = 1, 42, 74, 130
"""Exit statuses besides 0 and, for a wrong call, 2; docs/scoring.md explains them."""


class _RunByDefault(TyperGroup):
    """A group whose command `run` need not be named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts `run` in front of what names no command."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


score = typer.Typer(
    name="score",
    cls=_RunByDefault,
    no_args_is_help=True,
    add_completion=False,
    help="Score many images into one table. `brainmri score INPUT... --out FOLDER` is short for `brainmri score run`.",
)

FormatOption = Annotated[Format, typer.Option("--format", help="Of the results.")]
ReportOption = Annotated[bool, typer.Option("--report", help="Also write report.html, with plots.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Exit with status 1 if any row failed.")]
LabelsOption = Annotated[
    Literal["parent-folder"] | None,
    typer.Option(help="Where true labels come from: the name of each image's folder. Prints accuracy and more."),
]


@contextmanager
def _exit_statuses() -> Iterator[None]:
    """Turns what stops a run into the exit statuses that jobs on clusters decide by."""
    try:
        yield
    except ScoringHopeless as error:
        typer.echo(f"brainmri: {error.message}", err=True)
        raise typer.Exit(HOPELESS) from error
    except OSError as error:
        typer.echo(f"brainmri: {error}. Mend that, and continue with --resume.", err=True)
        raise typer.Exit(INPUT_OUTPUT) from error
    except KeyboardInterrupt as error:
        typer.echo("brainmri: interrupted. Continue with --resume.", err=True)
        raise typer.Exit(INTERRUPTED) from error


@score.command("run")
@_exit_statuses()
def run(  # noqa: PLR0913 -- the options of a command
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Image files, DICOM objects, NIfTI volumes, DICOMDIR, folders, quoted patterns, zip or tar archives,"
            " tables (CSV, JSONL, Parquet) with a column 'path', or URLs of these.",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    form: FormatOption = "parquet",
    report: ReportOption = False,
    labels_from: LabelsOption = None,
    heatmaps: Annotated[
        Path | None, typer.Option(help="Folder for the heat map of each answered image, ID.png in grey.")
    ] = None,
    dicom_out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for a DICOM report of each answered image, and a capture with its heat map, in the image's"
            " study; takes DICOM objects only."
        ),
    ] = None,
    step_mm: StepOption = STEP_MM,
    force: ForceOption = False,
    tags: TagsOption = "",
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out, if there is one.")] = False,
    strict: StrictOption = False,
    max_error_rate: Annotated[
        float, typer.Option(help="Stop with status 42 when a larger share of images fails.", min=0, max=1)
    ] = 1.0,
    batch_size: Annotated[
        int | None, typer.Option(help="Images in one inference (BRAINMRI_MAX_BATCH_SIZE).", min=1, max=1024)
    ] = None,
    shard_size: Annotated[
        int | None,
        typer.Option(
            help=f"Images of a part, which an interruption may cost (default {SHARD_SIZE}, or fewer, so that every"
            " share and actor has a part).",
            min=1,
            max=100_000,
        ),
    ] = None,
    shard_index: Annotated[int, typer.Option(help="Which share to score, from 0; then merge.", min=0)] = 0,
    num_shards: Annotated[int, typer.Option(help="Number of shares.", min=1)] = 1,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="What runs the work.")] = "local",
    actors: Annotated[int, typer.Option(help="Actors of the engine ray.", min=1)] = 1,
) -> None:
    """Score images; one row for each and for each frame of a DICOM object, a failed image is a row as well."""
    keywords = keywords_of(tags)
    settings = load_settings()
    bundle = _bundle(settings)
    if heatmaps is not None:
        require_explanation(bundle.contract)
    if dicom_out is not None:
        require_writer()
    share = Share(shard_index, num_shards)
    size = batch_size or settings.max_batch_size
    archives = archive_limits(settings)
    taken = Taken(step_mm=step_mm)
    workers = actors if engine == "ray" else 1
    request = Request(tuple(inputs or ()), out, resume, share, shard_size, archives, max_error_rate, workers, taken)
    check(request)
    opener = OpenBundle.of(bundle, settings, size)
    heat_maps = None if heatmaps is None else HeatMapFolder(heatmaps.absolute())
    dicom = None if dicom_out is None else DicomFolder(dicom_out.absolute())
    work = Work(opener, size, settings.decode_threads(), archives, Retry(), heat_maps, dicom, force, keywords)
    with (
        RunFolder(out).held(shard_index),
        RunProgress(Console(stderr=True)) as progress,
        _engine(engine, work, shard_size_of(request), actors, settings, progress) as scoring,
    ):
        method = Method.of(
            bundle.contract,
            scoring.model.runtime,
            settings.novelty_policy,
            size,
            opener.options.limits,
            force=force,
            tags=keywords,
        )
        record = open_run(request, method.model_copy(update={"step_mm": step_mm}))
        scored = score_share(request, record, scoring, progress)
    if num_shards > 1:
        _tell_share(share, scored, out)
    else:
        _finish([RunFolder(out)], record, form, report, labels_from)
    if strict and scored.failed:
        raise typer.Exit(SOME_FAILED)


@score.command()
@_exit_statuses()
def merge(
    folders: Annotated[list[Path], typer.Argument(help="--out of the shares; results go into the first.")],
    form: FormatOption = "parquet",
    report: ReportOption = False,
    labels_from: LabelsOption = None,
    strict: StrictOption = False,
) -> None:
    """Join the shares of a run, and verify that every image has its row."""
    runs = [RunFolder(folder) for folder in folders]
    failed = _finish(runs, require_same_run(runs), form, report, labels_from)
    if strict and failed:
        raise typer.Exit(SOME_FAILED)


@contextmanager
def _engine(
    name: Literal["local", "ray"], work: Work, shard_size: int, actors: int, settings: Settings, progress: RunProgress
) -> Iterator[Engine]:
    if name == "local":
        with Supervisor(work, shard_size, on_progress=progress.under_way) as local:
            yield local
        return
    # An extra, and slow to import.
    from brainmri.bulk.ray_engine import RayEngine  # noqa: PLC0415

    with RayEngine(work, shard_size, actors, settings.inference_threads()) as ray:
        yield ray


def _bundle(settings: Settings) -> Bundle:
    """Returns the model that `brainmri predict` would use, where other machines have it as well if possible."""
    folder = settings.bundles_folder()
    bundle = store.ensure(settings.models[0], folder)
    released = folder / bundle.contract.name
    if (released / "contract.json").is_file():
        candidate = load_bundle(released)
        if candidate.contract.digest() == bundle.contract.digest():
            return candidate
    return bundle


def _tell_share(share: Share, scored: Scored, out: Path) -> None:
    typer.echo(
        f"Share {share.index} of {share.count}: {scored.images} rows, {scored.failed} failed. When all are done:"
        f" brainmri score merge {out}"
    )


def _finish(folders: list[RunFolder], record: Record, form: Format, report: bool, labels_from: str | None) -> int:
    """Joins, tells, and returns how many rows failed."""
    outcome = finish(folders, record, form, labelled=labels_from is not None)
    if report:
        write_report(folders[0].report, outcome)
    print_outcome(Console(), outcome)
    return outcome.summary.failed
