"""The commands of training that judge a bundle."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.console import (
    DEFAULT_DATA,
    DEFAULT_MODELS,
    DEFAULT_WORK,
    THREADS,
    BundleFolder,
    Data,
    Threads,
    Work,
    bar,
    report,
    say,
)
from training.data.workspace import Workspace

if TYPE_CHECKING:
    from brainmri.model.bundle import Bundle
    from training.data.slices import Slices


class ClassicalKind(StrEnum):
    """Classical models on the features of a network."""

    SVM = "svm"
    RANDOM_FOREST = "random_forest"


def add_studies(app: typer.Typer) -> None:
    """Adds the commands to those of `training.cli`."""
    for name, command in (
        ("evaluate-bundle", evaluate_bundle),
        ("release-check", release_check),
        ("evaluate-series", evaluate_series),
        ("compare-heat-maps", compare_heat_maps),
        ("freeze-near-set", freeze_near_set),
        ("classical", classical),
        ("compare", compare),
        ("feedback", feedback),
    ):
        app.command(name)(command)


def evaluate_bundle(
    bundle: BundleFolder,
    data: Data = DEFAULT_DATA,
    work: Work = DEFAULT_WORK,
    threads: Threads = THREADS,
) -> None:
    """Evaluate a released bundle again and compare with the figures it carries; exit 1 when they differ."""
    from training.release.pipeline import differences, evaluate_released

    space = Workspace(work)
    figures, published = evaluate_released(bundle, space, data, space.slices(data, bar("decoding")), threads)
    report(figures)
    changed = differences(figures, published)
    for line in changed:
        say(line)
    if changed:
        raise typer.Exit(1)
    say(f"as published in {bundle / 'metrics.json'}")


def release_check(
    bundle: BundleFolder,
    data: Annotated[Path | None, typer.Option(help="Measure again on this data; else read the figures.")] = None,
    work: Work = DEFAULT_WORK,
    threads: Threads = THREADS,
) -> None:
    """Compare a bundle's hashes and figures with what a release has to reach; exit 1 with a line for each shortfall."""
    from training.release.pipeline import check_release

    space = Workspace(work)
    slices = None if data is None else space.slices(data, bar("decoding"))
    lines = check_release(bundle, space, data, slices, threads)
    for line in lines:
        say(line)
    if lines:
        raise typer.Exit(1)
    say(f"{bundle} reaches every figure that a release has to reach")


def evaluate_series(
    bundle: BundleFolder,
    data: Data = DEFAULT_DATA,
    work: Work = DEFAULT_WORK,
    threads: Threads = THREADS,
    subset: Annotated[str, typer.Option(help="validation, to choose the rule; test, to measure it.")] = "test",
    limit: Annotated[int, typer.Option(help="Most slices of each label; 0 for all.", min=0)] = 0,
) -> None:
    """Measure the verdict of series on persons with a tumour and on made series of normal slices; JSON to stdout."""
    from brainmri.errors import InvalidInput
    from brainmri.model.bundle import load_bundle
    from brainmri.model.options import ModelOptions
    from brainmri.model.predictor import Predictor
    from training.data.split import read_split
    from training.release.series import Answered, first_of_each_label, series_figures, slices_to_ask

    predictor = Predictor.open(load_bundle(bundle), ModelOptions(threads=threads))

    def verdict_of(name: str) -> str | None:
        try:
            return predictor.predict((data / name).read_bytes()).verdict
        except InvalidInput:
            return None

    rows = first_of_each_label(slices_to_ask(read_split(Workspace(work).data), subset), limit)
    answers = [Answered(row.label, row.person, verdict_of(row.name)) for row in bar("answering")(rows)]
    figures = {"model": predictor.contract.tag, "subset": subset, "slices": len(answers), **series_figures(answers)}
    typer.echo(json.dumps(figures, indent=2))


def compare_heat_maps(
    bundle: BundleFolder,
    data: Data = DEFAULT_DATA,
    work: Work = DEFAULT_WORK,
    threads: Threads = THREADS,
    images: Annotated[int, typer.Option(help="Most slices with a box, of each source.", min=1)] = 100,
    masks: Annotated[int, typer.Option(help="Half-covered images that RISE asks about for each slice.", min=1)] = 400,
) -> None:
    """Compare methods of heat maps on validation slices with boxes, by person and of another source; Markdown."""
    from brainmri.errors import HeatMapUnavailable
    from brainmri.model.bundle import load_bundle
    from brainmri.model.explanation import open_head
    from brainmri.model.options import ModelOptions
    from brainmri.model.runtimes.open import open_runtime
    from training.data.sources import VALIDATION
    from training.data.split import EXTERNAL_VALIDATION
    from training.release.evaluate import heads
    from training.studies.heat_map_methods import boxed_rows, compare_methods, methods_of, page

    opened = load_bundle(bundle)
    head, runtime = open_head(opened), open_runtime(opened, ModelOptions(threads=threads))
    if head is None:
        raise HeatMapUnavailable(f"{opened.contract.tag} carries no heat maps. Name a bundle that does.")
    methods = methods_of(opened, runtime, head, masks)
    slices = Workspace(work).slices(data, bar("decoding"))
    for title, subset in (("Persons", VALIDATION), ("Another source", EXTERNAL_VALIDATION)):
        rows = boxed_rows(slices, subset, images)
        if len(rows):
            typer.echo(page(title, compare_methods(methods, runtime, slices, rows, heads(slices, rows))))


def freeze_near_set(data: Data = DEFAULT_DATA, work: Work = DEFAULT_WORK) -> None:
    """Write training/data/near/manifest.csv anew: a new edition, with which old figures cannot be compared."""
    from training.data.dataset import find_dataset
    from training.data.near.manifest import MANIFEST, freeze
    from training.data.split import read_split

    say(f"{MANIFEST}: {freeze(find_dataset(data), read_split(Workspace(work).data))}")


def classical(
    source: Annotated[str, typer.Argument(help="Folder of a bundle, or a trained recipe: gives the feature network.")],
    kind: Annotated[ClassicalKind, typer.Option(help="svm has a kernel of radial basis functions.")],
    version: Annotated[str, typer.Option(help="Version of the model, such as 0.1.0.")],
    data: Data = DEFAULT_DATA,
    work: Work = DEFAULT_WORK,
    models: Annotated[Path, typer.Option(help="Receives the bundle as MODELS/NAME/.")] = DEFAULT_MODELS,
    threads: Threads = THREADS,
) -> None:
    """Fit a classical model to a network's features, evaluate it, and register both as one bundle, served as ONNX."""
    from training.data.outliers import load_outliers
    from training.studies.classical import Job, make_classical

    space = Workspace(work)
    slices = space.slices(data, bar("decoding"))
    network = _bundle(source, space, slices, threads)
    job = Job(network, kind.value, version, models, threads, space.outputs)
    bundle, figures, tag = make_classical(job, slices, load_outliers(data))
    report(figures)
    say(f"{tag} in the model store; bundle in {bundle.folder}")


def compare(
    sources: Annotated[
        list[str], typer.Argument(help="Folders of bundles, or trained recipes; the first is the default.")
    ],
    data: Data = DEFAULT_DATA,
    work: Work = DEFAULT_WORK,
    out: Annotated[Path, typer.Option(help="Receives comparison.md, .html, .json and figures/.")] = DEFAULT_WORK
    / "comparison",
    threads: Threads = THREADS,
) -> None:
    """Put models side by side on the same held-out images: figures, intervals, tests against the first, cost."""
    from training.release.export_speed import processor
    from training.studies.compare import compare as side_by_side
    from training.studies.comparison_page import markdown, write_comparison
    from training.studies.comparison_plots import plot_comparison

    space = Workspace(work)
    slices = space.slices(data, bar("decoding"))
    bundles = [_bundle(source, space, slices, threads) for source in sources]
    comparison = side_by_side(bundles, slices, space, threads, processor(threads))
    write_comparison(comparison, plot_comparison(comparison, out / "figures"), out)
    say(markdown(comparison, []))
    say(f"comparison.md, comparison.html, comparison.json and figures/ in {out}")


def _bundle(source: str, space: Workspace, slices: "Slices", threads: int) -> "Bundle":
    """Returns the bundle in a folder, or the calibrated draft of a trained recipe."""
    from training.fit.recipe import load_recipe
    from training.release.drafts import calibrate_draft
    from training.release.pipeline import bundle_of_split

    if (Path(source) / "contract.json").is_file():
        return bundle_of_split(Path(source), space)
    return calibrate_draft(load_recipe(source), space, slices, threads)


def feedback(
    store: Annotated[Path | None, typer.Argument(help="BRAINMRI_FEEDBACK_DIR of a server, or a copy.")] = None,
    images: Annotated[Path | None, typer.Argument(help="Folder of the image files, found by their hashes.")] = None,
    data: Data = DEFAULT_DATA,
    bundle: Annotated[Path, typer.Option(help="Whose labels count, and who tells how uncertain it is.")] = (
        DEFAULT_MODELS / "brain_mri_xception"
    ),
    threads: Threads = THREADS,
    requests: Annotated[
        Path | None, typer.Option(help="CSV with request_id and image_sha256, for feedback that names requests.")
    ] = None,
    release: Annotated[
        bool,
        typer.Option("--release", help="Let `audit`, and so `train`, read the set as it is now; look at it first."),
    ] = False,
) -> None:
    """Make a labelled set of a server's feedback in DATA/sources; nothing of it is trained on before --release."""
    from training.data.feedback import collect, read_requests, table_of
    from training.data.feedback import release as release_table

    if release:
        if store is not None:
            raise typer.BadParameter("--release takes no store: it releases the table that a person has looked at")
        say(f"{release_table(data)} images are released; run `python -m training audit` and `split` again")
        return
    if store is None or images is None:
        raise typer.BadParameter("name the STORE and the folder of IMAGES, or --release")
    from brainmri.model.bundle import load_bundle
    from brainmri.model.options import ModelOptions
    from brainmri.model.predictor import Predictor
    from brainmri.observe.journal import read_journal

    predictor = Predictor.open(load_bundle(bundle), ModelOptions(threads=threads))

    def ask(content: bytes) -> tuple[str, float]:
        answer = predictor.predict(content)
        return answer.verdict, answer.confidence

    known = {} if requests is None else read_requests(requests)
    found = collect(read_journal(store), images, data, predictor.contract.labels, known, ask)
    for reason, count in sorted(found.left_out.items()):
        say(f"left out, {reason}: {count}")
    say(f"{len(found.images)} labelled images in {table_of(data)}, the most uncertain first; not released")
