"""The commands of training, in their order: fetch, audit, split, train, evaluate, register; and their parts."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from brainmri.errors import BrainMRIError, DatasetError
from training.workspace import Workspace

if TYPE_CHECKING:
    from brainmri.contract import Calibration

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="From the dataset to a released model. Run the commands in this order: fetch, audit, split, train, evaluate,"
    " register. Research use only.",
)
_console = Console(stderr=True, highlight=False)

Data = Annotated[
    Path, typer.Option(envvar="BRAINMRI_DATA", help="Folder with brain-mri/{Training,Testing}/<label>/, or those two.")
]
Work = Annotated[Path, typer.Option(help="Folder for manifest, split, decoded images and runs.")]
RecipeName = Annotated[str, typer.Argument(help="Name of a recipe in training/recipes/, or the path of a YAML file.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads for each runtime.")]
DEFAULT_DATA, DEFAULT_WORK, DEFAULT_MODELS = Path("data"), Path("runs"), Path("models")
THREADS = os.cpu_count() or 1


@app.command()
def fetch(
    out: Annotated[Path, typer.Option(help="Receives the dataset as OUT/brain-mri/.")] = DEFAULT_DATA,
    local: Annotated[Path | None, typer.Option(help="Take this folder instead of downloading.")] = None,
) -> None:
    """Download the dataset from Kaggle (CC0), or take a local folder, and check its layout."""
    from training.fetch import fetch_dataset

    _say(f"dataset in {fetch_dataset(out, local)}")


@app.command()
def audit(data: Data = DEFAULT_DATA, work: Work = DEFAULT_WORK) -> None:
    """Read every file; find unreadable ones, duplicates and leaks; write manifest.csv, audit.json and audit.md."""
    from training.audit import audit as read_all
    from training.audit import report, summarise, write_manifest
    from training.dataset import list_slices
    from training.tables import write_atomically

    space = Workspace(work)
    rows = read_all(list_slices(data), _bar("reading"))
    sha256 = write_manifest(space.manifest, rows)
    summary = summarise(rows) | {"manifest_sha256": sha256}
    write_atomically(space.data / "audit.json", (json.dumps(summary, indent=2) + "\n").encode())
    write_atomically(space.data / "audit.md", report(summary).encode())
    _say(
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
    from brainmri.bundle import file_sha256
    from training.audit import read_manifest
    from training.split import SplitRule, count, write_split
    from training.split import split as assign

    space = Workspace(work)
    rule = SplitRule(seed=seed, validation=validation, holdout=holdout)
    rows = assign(read_manifest(space.manifest), rule)
    sha256 = write_split(space.data, rows, rule, file_sha256(space.manifest))
    images = {subset: sum(c["images"] for c in labels.values()) for subset, labels in count(rows).items()}
    _say(f"{', '.join(f'{n} {subset}' for subset, n in images.items())}; hash {sha256[:12]}")


@app.command()
def train(
    recipe: RecipeName,
    data: Data = DEFAULT_DATA,
    work: Work = DEFAULT_WORK,
    resume: Annotated[bool, typer.Option("--resume", help="Continue exactly after the last finished epoch.")] = False,
    max_steps: Annotated[int, typer.Option(min=0, help="End every epoch after so many steps; 0 for whole ones.")] = 0,
) -> None:
    """Train a recipe with a checkpoint after every epoch. KERAS_BACKEND chooses tensorflow, torch or jax."""
    from training.recipe import load_recipe

    chosen, space = load_recipe(recipe), Workspace(work)
    arrays = space.arrays(data, _bar("decoding"))
    from training.fit import fit

    progress = fit(chosen, arrays, space.origin(), space.run(chosen.name), resume=resume, max_steps=max_steps)
    _say(
        f"{progress.epoch} epochs; best validation accuracy {progress.best:.4f} after epoch {progress.best_epoch};"
        f" weights and history in {space.run(chosen.name)}"
    )


@app.command()
def export(recipe: RecipeName, data: Data = DEFAULT_DATA, work: Work = DEFAULT_WORK) -> None:
    """Write a trained run's artefacts: float16 Keras weights and the int8 OpenVINO network."""
    from training.drafts import plain_draft
    from training.recipe import load_recipe

    chosen, space = load_recipe(recipe), Workspace(work)
    bundle = plain_draft(chosen, space, space.arrays(data, _bar("decoding")))
    names = ", ".join(artefact.runtime for artefact in bundle.contract.artefacts)
    _say(f"artefacts {names} in {space.run(chosen.name) / 'artefacts'}")


@app.command()
def calibrate(
    recipe: RecipeName, data: Data = DEFAULT_DATA, work: Work = DEFAULT_WORK, threads: Threads = THREADS
) -> None:
    """Fit temperature and the confidence of `unsure` on grouped validation, for each runtime, into the draft bundle."""
    for calibration in _calibrated(recipe, data, work, threads):
        _say(
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
            _say(
                f"{calibration.runtime:14} fitted on {calibration.novelty.fitted_on} slices; novel above"
                f" {calibration.novelty.threshold:.4f}, which keeps {calibration.novelty.keeps:.1%} of validation;"
                f" {calibration.novelty.bytes / 1e6:.1f} MB"
            )


def _calibrated(recipe: str, data: Path, work: Path, threads: int) -> "tuple[Calibration, ...]":
    from training.drafts import calibrate_draft
    from training.recipe import load_recipe

    chosen, space = load_recipe(recipe), Workspace(work)
    return calibrate_draft(chosen, space, space.arrays(data, _bar("decoding")), threads).contract.calibrations


@app.command("freeze-near-set")
def freeze_near_set(data: Data = DEFAULT_DATA, work: Work = DEFAULT_WORK) -> None:
    """Write training/near/manifest.csv anew: a new edition, with which old figures cannot be compared."""
    from training.dataset import find_dataset
    from training.near.manifest import MANIFEST, freeze
    from training.split import read_split

    _say(f"{MANIFEST}: {freeze(find_dataset(data), read_split(Workspace(work).data))}")


@app.command()
def evaluate(
    recipe: RecipeName, data: Data = DEFAULT_DATA, work: Work = DEFAULT_WORK, threads: Threads = THREADS
) -> None:
    """Export, calibrate and evaluate a trained run as it would be served; write metrics, predictions and figures."""
    from training.pipeline import evaluate_run
    from training.recipe import load_recipe

    chosen, space = load_recipe(recipe), Workspace(work)
    figures = evaluate_run(chosen, space, data, space.arrays(data, _bar("decoding")), threads)
    _report(figures)
    _say(f"metrics.json and figures/ in {space.run(chosen.name)}")


@app.command()
def register(
    recipe: RecipeName,
    version: Annotated[str, typer.Option(help="Version of the model, such as 0.1.0.")],
    work: Work = DEFAULT_WORK,
    models: Annotated[Path, typer.Option(help="Receives the bundle as MODELS/brain_mri_xception/.")] = DEFAULT_MODELS,
) -> None:
    """Write an evaluated run's bundle, put it into the BentoML model store, and export it as a .bentomodel file."""
    from training.pipeline import register_run
    from training.recipe import load_recipe

    bundle, tag, exported = register_run(load_recipe(recipe), Workspace(work), version, models)
    _say(f"{tag} in the model store; bundle in {bundle.folder}; archive {exported}")


@app.command("evaluate-bundle")
def evaluate_bundle(
    bundle: Annotated[Path, typer.Argument(help="Folder of a released bundle.")],
    data: Data = DEFAULT_DATA,
    work: Work = DEFAULT_WORK,
    threads: Threads = THREADS,
) -> None:
    """Evaluate a released bundle again and compare with the figures it carries; exit 1 when they differ."""
    from training.pipeline import differences, evaluate_released

    space = Workspace(work)
    figures, published = evaluate_released(bundle, space, data, space.arrays(data, _bar("decoding")), threads)
    _report(figures)
    changed = differences(figures, published)
    for line in changed:
        _say(line)
    if changed:
        raise typer.Exit(1)
    _say(f"as published in {bundle / 'metrics.json'}")


@app.command("resize-study")
def resize_study(
    bundle: Annotated[Path, typer.Argument(help="Folder of a released bundle.")],
    data: Data = DEFAULT_DATA,
    work: Work = DEFAULT_WORK,
    threads: Threads = THREADS,
) -> None:
    """Compare stretching, padding and filters on validation slices (decision 0003)."""
    from brainmri.inference.runtime import open_runtime
    from training.dataset import find_dataset
    from training.pipeline import bundle_of_split
    from training.resize_study import study

    space = Workspace(work)
    model, arrays = bundle_of_split(bundle, space), space.arrays(data, _bar("decoding"))
    runtime = open_runtime(model, "openvino", threads)
    for row in study(runtime, model.contract.temperature, arrays, find_dataset(data)):
        _say(
            f"{row['images']:20} {row['rule']:8} {row['filter']:9}"
            f" macro-F1 {row['macro_f1']:.4f}  log loss {row['log_loss']:.4f}"
        )


@app.command("novelty-study")
def novelty_study(
    bundle: Annotated[Path, typer.Argument(help="Folder of a released bundle.")],
    data: Data = DEFAULT_DATA,
    work: Work = DEFAULT_WORK,
    threads: Threads = THREADS,
) -> None:
    """Compare scores of novelty on validation slices, photographs and the near set (decision 0007)."""
    from training.novelty_study import compare_scores, table
    from training.outliers import load_outliers
    from training.outputs import Outputs
    from training.pipeline import bundle_of_split

    space = Workspace(work)
    outputs = Outputs(bundle_of_split(bundle, space), threads, space.outputs)
    _say(table(compare_scores(outputs, space.arrays(data, _bar("decoding")), load_outliers(data))))


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
    from training.pipeline import differences_from_release
    from training.recipe import load_recipe
    from training.reproduce import SMOKE_VERSION, Job, reproduce

    chosen = load_recipe(recipe)
    if smoke:
        job = Job(chosen, data, work / "smoke", threads, SMOKE_VERSION, work / "smoke" / "models", smoke=True)
    else:
        job = Job(chosen, data, work, threads, version, models)
    result = reproduce(job, _say, _bar("reading"))
    _report(result.metrics)
    if not smoke:
        for line in differences_from_release(result.metrics, models, chosen.name, Workspace(work)):
            _say(line)


@app.command()
def ablation(
    data: Data = DEFAULT_DATA,
    work: Work = DEFAULT_WORK,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each variant.")] = 3,
    out: Annotated[Path, typer.Option(help="Receives the table.")] = Path("docs/ablations.md"),
) -> None:
    """Train small variants, one choice changed in each, and write the table; an interrupted one is resumed.

    About ten minutes a variant of three epochs on two cores with KERAS_BACKEND=torch; five variants.
    """
    import time

    from training.dataset import find_dataset
    from training.tables import write_atomically

    space = Workspace(work)
    arrays = space.arrays(data, _bar("decoding"))
    from training.ablation import ablate, base_recipe, table

    base, start = base_recipe(epochs), time.monotonic()
    rows = ablate(base, arrays, space.origin(), space, find_dataset(data), _say)
    write_atomically(out, table(rows, base, time.monotonic() - start).encode())
    _say(f"table in {out}")


def _report(figures: dict[str, Any]) -> None:
    for name in ("given", "leak_free", "grouped"):
        row = figures[name]
        low, high = row["macro_f1_ci95"]
        _say(
            f"{name:9} {row['images']:5d} images  accuracy {row['accuracy']:.4f}"
            f"  macro-F1 {row['macro_f1']:.4f} ({low:.4f} to {high:.4f})  ECE {row['ece']:.4f}"
        )
    for name in ("far", "near"):
        if (row := figures.get("novelty", {}).get(name)) is not None:
            _say(f"{name:9} {row['images']:5d} images  AUROC {row['auroc']:.4f}  FPR at 95 % TPR {row['fpr95']:.4f}")


def _bar(what: str) -> Any:
    return lambda items: track(items, description=what, console=_console)


def _say(line: str) -> None:
    _console.print(line, markup=False, soft_wrap=True)


def main() -> None:
    """Runs the command line; an expected error is one line and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        app()
    except DatasetError as error:
        _say(f"error: {error.message}")
        raise SystemExit(2) from error
    except BrainMRIError as error:
        _say(f"error ({error.code}): {error.message}")
        raise SystemExit(2) from error
