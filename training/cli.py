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
    out: Annotated[Path, typer.Option(help="Receives the dataset as OUT/brain-mri/.")] = DEFAULT_DATA,
    local: Annotated[Path | None, typer.Option(help="Take this folder instead of downloading.")] = None,
) -> None:
    """Download the dataset from Kaggle (CC0), or take a local folder, and check its layout."""
    from training.data.fetch import fetch_dataset

    say(f"dataset in {fetch_dataset(out, local)}")


@app.command()
def audit(data: Data = DEFAULT_DATA, work: Work = DEFAULT_WORK) -> None:
    """Read every file; find unreadable ones, duplicates and leaks; write manifest.csv, audit.json and audit.md."""
    from training.data.audit import audit as read_all
    from training.data.audit import report, summarise, write_manifest
    from training.data.dataset import list_slices
    from training.data.tables import write_atomically

    space = Workspace(work)
    rows = read_all(list_slices(data), bar("reading"))
    sha256 = write_manifest(space.manifest, rows)
    summary = summarise(rows) | {"manifest_sha256": sha256}
    write_atomically(space.data / "audit.json", (json.dumps(summary, indent=2) + "\n").encode())
    write_atomically(space.data / "audit.md", report(summary).encode())
    say(
        f"{summary['images']} images in {summary['groups']} near-duplicate groups;"
        f" of {summary['testing_images']} Testing images {summary['testing_exact_leaks']} have an exact"
        f" and {summary['testing_near_leaks']} a near-duplicate in Training; report in {space.data / 'audit.md'}"
    )


@app.command()
def split(
    work: Work = DEFAULT_WORK,
    seed: Annotated[int, typer.Option(help="Seed of the assignment.")] = 20261121,
    validation: Annotated[float, typer.Option(help="Share of each label's groups.")] = 0.1,
    holdout: Annotated[float, typer.Option(help="Share of each label's groups.")] = 0.1,
) -> None:
    """Cut Training into train, validation and hold-out; groups of near-duplicates are never cut."""
    from brainmri.model.bundle import file_sha256
    from training.data.audit import read_manifest
    from training.data.split import SplitRule, count, write_split
    from training.data.split import split as assign

    space = Workspace(work)
    rule = SplitRule(seed=seed, validation=validation, holdout=holdout)
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
    arrays = space.arrays(data, bar("decoding"))
    from training.fit.fit import fit

    progress = fit(
        chosen,
        arrays,
        space.origin(),
        space.run(chosen.name),
        resume=resume,
        max_steps=max_steps,
        weights_file=weights,
    )
    say(
        f"{progress.epoch} epochs; best validation accuracy {progress.best:.4f} after epoch {progress.best_epoch};"
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
    bundle = plain_draft(chosen, space, space.arrays(data, bar("decoding")))
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
    return calibrate_draft(chosen, space, space.arrays(data, bar("decoding")), threads).contract.calibrations


@app.command()
def evaluate(
    recipe: RecipeName, data: Data = DEFAULT_DATA, work: Work = DEFAULT_WORK, threads: Threads = THREADS
) -> None:
    """Export, calibrate and evaluate a trained run as it would be served; write metrics, predictions and figures."""
    from training.fit.recipe import load_recipe
    from training.release.pipeline import evaluate_run

    chosen, space = load_recipe(recipe), Workspace(work)
    figures = evaluate_run(chosen, space, data, space.arrays(data, bar("decoding")), threads)
    report(figures)
    say(f"metrics.json and figures/ in {space.run(chosen.name)}")


@app.command()
def register(
    recipe: RecipeName,
    version: Annotated[str, typer.Option(help="Version of the model, such as 0.1.0.")],
    work: Work = DEFAULT_WORK,
    models: Annotated[Path, typer.Option(help="Receives the bundle as MODELS/brain_mri_xception/.")] = DEFAULT_MODELS,
) -> None:
    """Write an evaluated run's bundle, put it into the BentoML model store, and export it as a .bentomodel file."""
    from training.fit.recipe import load_recipe
    from training.release.pipeline import register_run

    bundle, tag, exported = register_run(load_recipe(recipe), Workspace(work), version, models)
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

    With --smoke only that everything works is shown, in folders of its own (WORK/smoke), and registered there.
    """
    from training.fit.recipe import load_recipe
    from training.release.pipeline import differences_from_release
    from training.release.reproduce import SMOKE_VERSION, Job, reproduce

    chosen = load_recipe(recipe)
    if smoke:
        job = Job(chosen, data, work / "smoke", threads, SMOKE_VERSION, work / "smoke" / "models", smoke=True)
    else:
        job = Job(chosen, data, work, threads, version, models)
    result = reproduce(job, say, bar("reading"))
    report(result.metrics)
    if not smoke:
        for line in differences_from_release(result.metrics, models, chosen.name, Workspace(work)):
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
