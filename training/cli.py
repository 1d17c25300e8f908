"""The commands of training, in their order: fetch, audit, split, train, evaluate, register; and their parts."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainmri.errors import BrainMRIError, DatasetError
from training.cli_export import export_runtimes
from training.cli_studies import add_studies
from training.console import (
    DEFAULT_DATA,
    DEFAULT_MODELS,
    DEFAULT_WORK,
    THREADS,
    Data,
    RecipeName,
    Threads,
    Work,
    bar,
    report,
    say,
)
from training.data.workspace import Workspace

if TYPE_CHECKING:
    from brainmri.model.contract import Calibration

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="From the dataset to a released model. Run the commands in this order: fetch, audit, split, train, evaluate,"
    " register. Research use only.",
)


@app.command()
def fetch(
    out: Annotated[Path, typer.Option(help="The data folder: receives brain-mri/ or sources/.")] = DEFAULT_DATA,
    local: Annotated[Path | None, typer.Option(help="Take this folder instead of downloading.")] = None,
    source: Annotated[str, typer.Option(help="nickparvar, figshare or br35h.")] = "nickparvar",
) -> None:
    """Bring one source to the data folder: nickparvar and br35h from Kaggle, figshare from its .mat files in --local.

    nickparvar: masoudnickparvar/brain-tumor-mri-dataset (CC0). figshare: article 1512427 (CC BY 4.0). br35h:
    ahmedhamada0/brain-tumor-detection (licence not stated).
    """
    from training.data.fetch import fetch_source

    say(f"{source} in {fetch_source(source, out, local)}")


@app.command()
def audit(data: Data = DEFAULT_DATA, work: Work = DEFAULT_WORK) -> None:
    """Read every file of every source; find duplicates in any position and leaks; write manifest.csv and audit.md."""
    from brainmri.model.contract import RELEASED_CLASSES
    from training.data.audit import audit as read_all
    from training.data.audit import report, summarise, write_manifest
    from training.data.own import read_labels, write_classes
    from training.data.sources import read_sources
    from training.data.tables import write_atomically

    space, own = Workspace(work), read_labels(data)
    rows = read_all(data, read_sources(data), bar("reading"))
    write_classes(space.labels, RELEASED_CLASSES if own is None else own.classes)
    sha256 = write_manifest(space.manifest, rows)
    summary = summarise(rows) | {"manifest_sha256": sha256}
    write_atomically(space.data / "audit.json", (json.dumps(summary, indent=2) + "\n").encode())
    write_atomically(space.data / "audit.md", report(summary).encode())
    given = summary["given"]
    say(
        f"{summary['images']} images, {summary['duplicate_groups']} different ones;"
        f" {sum(summary['found_only_mirrored_or_turned'].values())} have only mirrored or turned copies;"
        f" {given['leaking']} of {given['testing_images']} Testing images stand in Training in some form;"
        f" report in {space.data / 'audit.md'}"
    )


@app.command()
def split(
    work: Work = DEFAULT_WORK,
    seed: Annotated[int, typer.Option(help="Seed of the assignment.")] = 20261121,
    validation: Annotated[float, typer.Option(help="Share of each label's groups without a published part.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share of each label's groups without a published part.")] = 0.1,
) -> None:
    """Assign persons and groups to train, validation and test: as published, others at random."""
    from brainmri.model.bundle import file_sha256
    from training.data.audit import read_manifest
    from training.data.split import SplitRule, count, write_split
    from training.data.split import split as assign

    space = Workspace(work)
    rule = SplitRule(seed=seed, validation=validation, test=test)
    rows = assign(read_manifest(space.manifest), rule)
    sha256 = write_split(space.data, rows, rule, file_sha256(space.manifest))
    images = {subset: sum(c["images"] for c in labels.values()) for subset, labels in count(rows).items()}
    say(f"{', '.join(f'{n} {subset}' for subset, n in images.items())}; hash {sha256[:12]}")


@app.command()
def train(
    recipe: RecipeName,
    data: Data = DEFAULT_DATA,
    work: Work = DEFAULT_WORK,
    resume: Annotated[bool, typer.Option("--resume", help="Continue exactly after the last finished epoch.")] = False,
    max_steps: Annotated[int, typer.Option(min=0, help="End every epoch after so many steps; 0 for whole ones.")] = 0,
    weights: Annotated[str, typer.Option(help="Take ImageNet weights from this file instead of downloading.")] = "",
) -> None:
    """Train a recipe with a checkpoint after every epoch. KERAS_BACKEND chooses tensorflow, torch or jax."""
    from training.fit.recipe import load_recipe

    chosen, space = load_recipe(recipe), Workspace(work)
    slices = space.slices(data, bar("decoding"))
    from training.fit.fit import fit

    progress = fit(
        chosen,
        slices,
        space.origin(),
        space.run(chosen.name),
        resume=resume,
        max_steps=max_steps,
        weights_file=weights,
    )
    say(
        f"{progress.epoch} epochs; best validation score {progress.best:.4f} after epoch {progress.best_epoch};"
        f" weights and history in {space.run(chosen.name)}"
    )


@app.command()
def adopt(
    recipe: RecipeName,
    bundle: Annotated[Path, typer.Option(help="Folder of the bundle that the recipe's first phases made.")],
    phases: Annotated[int, typer.Option(min=1, help="How many phases those were.")],
    work: Work = DEFAULT_WORK,
) -> None:
    """Begin a run with a bundle's weights as the result of the recipe's first phases; `train --resume` goes on."""
    from training.fit.recipe import load_recipe
    from training.release.adopt import adopt as take
    from training.release.pipeline import bundle_of_split

    chosen, space = load_recipe(recipe), Workspace(work)
    progress = take(chosen, bundle_of_split(bundle, space), phases, space)
    say(f"{space.run(chosen.name)} stands after epoch {progress.epoch}: `python -m training train {recipe} --resume`")


@app.command()
def export(recipe: RecipeName, data: Data = DEFAULT_DATA, work: Work = DEFAULT_WORK) -> None:
    """Write a trained run's artefacts: float16 Keras weights and the int8 OpenVINO network."""
    from training.fit.recipe import load_recipe
    from training.release.drafts import plain_draft

    chosen, space = load_recipe(recipe), Workspace(work)
    bundle = plain_draft(chosen, space, space.slices(data, bar("decoding")))
    names = ", ".join(artefact.runtime for artefact in bundle.contract.artefacts)
    say(f"artefacts {names} in {space.run(chosen.name) / 'artefacts'}")


@app.command()
def calibrate(
    recipe: RecipeName, data: Data = DEFAULT_DATA, work: Work = DEFAULT_WORK, threads: Threads = THREADS
) -> None:
    """Fit temperature and the confidence of `unsure` on grouped validation, for each runtime, into the draft bundle."""
    for calibration in _calibrated(recipe, data, work, threads):
        say(
            f"{calibration.runtime:14} temperature {calibration.temperature:.4f}; unsure below"
            f" {calibration.min_confidence:.4f}, which {calibration.coverage:.1%} of validation reach"
        )


@app.command()
def novelty(
    recipe: RecipeName, data: Data = DEFAULT_DATA, work: Work = DEFAULT_WORK, threads: Threads = THREADS
) -> None:
    """Fit the novelty detector on training groups and its threshold on validation, for each runtime."""
    for calibration in _calibrated(recipe, data, work, threads):
        if calibration.novelty is not None:
            say(
                f"{calibration.runtime:14} fitted on {calibration.novelty.fitted_on} slices; novel above"
                f" {calibration.novelty.threshold:.4f}, which keeps {calibration.novelty.keeps:.1%} of validation;"
                f" {calibration.novelty.bytes / 1e6:.1f} MB"
            )


def _calibrated(recipe: str, data: Path, work: Path, threads: int) -> "tuple[Calibration, ...]":
    from training.fit.recipe import load_recipe
    from training.release.drafts import calibrate_draft

    chosen, space = load_recipe(recipe), Workspace(work)
    return calibrate_draft(chosen, space, space.slices(data, bar("decoding")), threads).contract.calibrations


@app.command()
def evaluate(
    recipe: RecipeName, data: Data = DEFAULT_DATA, work: Work = DEFAULT_WORK, threads: Threads = THREADS
) -> None:
    """Export, calibrate and evaluate a trained run as it would be served; write metrics, predictions and figures."""
    from training.fit.recipe import load_recipe
    from training.release.pipeline import evaluate_run

    chosen, space = load_recipe(recipe), Workspace(work)
    figures = evaluate_run(chosen, space, data, space.slices(data, bar("decoding")), threads)
    report(figures)
    say(f"metrics.json and figures/ in {space.run(chosen.name)}")


@app.command()
def unseen(recipe: RecipeName, data: Data = DEFAULT_DATA, work: Work = DEFAULT_WORK) -> None:
    """Ask the last phase that has seen no tumour of unnamed kind about all of them; `evaluate` adds its figures."""
    from training.fit.recipe import load_recipe
    from training.release.drafts import trained_run
    from training.release.unseen import measure_unseen

    chosen, space = load_recipe(recipe), Workspace(work)
    trained_run(chosen, space)
    figures = measure_unseen(chosen, space.run(chosen.name), space.slices(data, bar("decoding")))
    say(f"{figures['network']}: found {figures['found']:.3f} of {figures['images']} tumours of another source")


@app.command()
def register(
    recipe: RecipeName,
    version: Annotated[str, typer.Option(help="Version of the model, such as 0.1.0.")],
    work: Work = DEFAULT_WORK,
    models: Annotated[Path, typer.Option(help="Receives the bundle as MODELS/NAME/.")] = DEFAULT_MODELS,
    below_the_bar: Annotated[
        bool, typer.Option("--below-the-bar", help="Release it although figures are below what a release has to reach.")
    ] = False,
) -> None:
    """Write an evaluated run's bundle, put it into the BentoML model store, and export it as a .bentomodel file."""
    from training.fit.recipe import load_recipe
    from training.release.pipeline import register_run

    bundle, tag, exported = register_run(
        load_recipe(recipe), Workspace(work), version, models, below_the_bar=below_the_bar
    )
    say(f"{tag} in the model store; bundle in {bundle.folder}; archive {exported}")


@app.command()
def reproduce(
    recipe: RecipeName,
    data: Data = DEFAULT_DATA,
    work: Work = DEFAULT_WORK,
    models: Annotated[Path, typer.Option(help="Receives the bundle when --version is given.")] = DEFAULT_MODELS,
    version: Annotated[str | None, typer.Option(help="Register the model under this version.")] = None,
    threads: Threads = THREADS,
    smoke: Annotated[bool, typer.Option("--smoke", help="A few steps on a part of the data, in minutes.")] = False,
) -> None:
    """Go from the dataset's folder to the figures of a release: every stage, resumed where it was interrupted.

    With --smoke only that everything works is shown, in folders of its own (WORK/smoke) with a model store of its own.
    """
    from training.fit.recipe import load_recipe
    from training.release.pipeline import differences_from_release
    from training.release.reproduce import SMOKE_VERSION, Job, reproduce

    chosen = load_recipe(recipe)
    if smoke:
        # A network of four steps must not become the latest in the user's store.
        os.environ["BENTOML_HOME"] = str((work / "smoke" / "bentoml").absolute())
        job = Job(chosen, data, work / "smoke", threads, SMOKE_VERSION, work / "smoke" / "models", smoke=True)
    else:
        job = Job(chosen, data, work, threads, version, models)
    result = reproduce(job, say, bar("reading"))
    report(result.metrics)
    if not smoke:
        for line in differences_from_release(result.metrics, models, chosen, Workspace(work)):
            say(line)


add_studies(app)
app.command("export-runtimes")(export_runtimes)


def main() -> None:
    """Runs the command line; an expected error is one line and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        app()
    except DatasetError as error:
        say(f"error: {error.message}")
        raise SystemExit(2) from error
    except BrainMRIError as error:
        say(f"error ({error.code}): {error.message}")
        raise SystemExit(2) from error
