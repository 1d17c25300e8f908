"""Joins the stages on disk: a trained run becomes an evaluated one, and that a released bundle."""

import json
from pathlib import Path
from typing import Any

from brainmri.errors import DatasetError
from brainmri.model import store
from brainmri.model.bundle import METRICS, PREDICTIONS, Bundle, load_bundle
from brainmri.model.contract import RELEASED_CLASSES, Contract
from training.data.audit import read_manifest, summarise
from training.data.outliers import load_outliers
from training.data.slices import Slices
from training.data.sources import TEST
from training.data.split import EXTERNAL
from training.data.tables import write_atomically
from training.data.workspace import Workspace
from training.fit.checkpoint import HISTORY
from training.fit.recipe import Recipe
from training.release.card import Made, write_card
from training.release.data_card import write_data_card
from training.release.drafts import DRAFT, calibrate_draft, trained_run
from training.release.evaluate import evaluate
from training.release.evaluation_plots import plot_evaluation
from training.release.export_figures import Held, measure
from training.release.export_speed import processor
from training.release.gate import lookup, read_bars, shortfalls
from training.release.looking import describe_looking
from training.release.outputs import REFERENCE, SERVING, Outputs
from training.release.predictions import prediction_rows, write_predictions
from training.release.register import ReleaseDocuments, release
from training.release.unseen import UNSEEN

DATA_CARD = "data_card.md"
HEADLINES = (
    "person.images",
    "person.accuracy",
    "person.macro_f1",
    "person.ece",
    "external.br35h.images",
    "external.br35h.found",
    "normal.called_notumor",
    "novelty.far.auroc",
    "novelty.near.auroc",
)
"""Figures that are compared when a bundle is evaluated again, dots meaning nesting."""
TOLERANCE = 0.005
"""Between CPUs int8 kernels round differently; a figure that moves more than this has changed."""


def evaluate_run(recipe: Recipe, space: Workspace, data: Path, slices: Slices, threads: int) -> dict[str, Any]:
    """Exports and calibrates a trained run, evaluates it as a bundle, and compares what it serves with the reference.

    Writes `metrics.json`, `predictions.csv` and figures into the run's folder, and returns the metrics.
    """
    run = space.run(recipe.name)
    outputs = Outputs(calibrate_draft(recipe, space, slices, threads), threads, space.outputs)
    outliers = load_outliers(data)
    evaluation = evaluate(outputs, slices, outliers)
    held = Held(slices, outliers)
    runtimes = [measure(outputs, choice, held, processor(threads), threads) for choice in (SERVING, REFERENCE)]
    network = recipe.network(recipe.phases[-1])
    looking = describe_looking(outputs, slices, evaluation.subsets[TEST], evaluation.subsets.get(EXTERNAL), network)
    figures = evaluation.metrics | {
        "localisation": looking,
        "runtimes": [each.model_dump() for each in runtimes],
    }
    if (run / UNSEEN).is_file():
        figures.setdefault("external", {})["br35h_unseen"] = json.loads((run / UNSEEN).read_text())
    plot_evaluation(evaluation, outputs, outliers, slices, run / "figures")
    write_predictions(run / PREDICTIONS, prediction_rows(evaluation.subsets, slices))
    write_atomically(run / METRICS, (json.dumps(figures, indent=2) + "\n").encode())
    return figures


def register_run(
    recipe: Recipe, space: Workspace, version: str, models: Path, *, below_the_bar: bool = False
) -> tuple[Bundle, str, Path]:
    """Writes the bundle of an evaluated run to `models`, imports it into the store, and exports it as an archive.

    Args:
        recipe: Whose run is released.
        space: Holds the run.
        version: Of the model.
        models: Receives the bundle.
        below_the_bar: Release it although figures are below what a release has to reach; its card then says so.

    Raises:
        DatasetError: The run has not been evaluated, another recipe or split made it, or it is below the bar.
        InvalidBundle: The store already holds another model of this version.
    """
    progress = trained_run(recipe, space)
    run = space.run(recipe.name)
    if not (run / METRICS).is_file():
        raise DatasetError(f"{run} has not been evaluated. Run `python -m training evaluate {recipe.name}` first.")
    draft, metrics = load_bundle(run / DRAFT), json.loads((run / METRICS).read_text())
    # The bars are those of the released labels.
    missed = shortfalls(metrics, read_bars()) if progress.classes == RELEASED_CLASSES else []
    if missed and not below_the_bar:
        raise DatasetError(
            f"{recipe.name} is below what a release has to reach: {'; '.join(missed)}. Train on, or register it with"
            " --below-the-bar, which its card will say."
        )
    released = {"version": version, "measurements": metrics["runtimes"]}
    contract = draft.contract.from_parts(**draft.contract.model_dump() | released)
    documents = _documents(recipe, space, contract, metrics, Made(progress.adopted, tuple(missed)))
    # The store refuses a version that it has: what is in `models` is replaced only after that.
    tag = store.import_bundle(release(run / "release", contract, draft.folder, documents).folder)
    bundle = release(models / contract.name, contract, draft.folder, documents)
    return bundle, tag, store.export_bundle(tag, run / f"{contract.name}-{version}.bentomodel")


def check_release(folder: Path, space: Workspace, data: Path | None, slices: Slices | None, threads: int) -> list[str]:
    """Returns a line for everything that keeps the bundle in `folder` from being a release; none when it is one.

    Args:
        folder: Of the bundle; its files are compared with the hashes in its contract.
        space: Holds the split that the bundle was made with, where data is given.
        data: Folder of the sources; None reads the figures that the bundle carries.
        slices: The decoded sources; None without data.
        threads: CPU threads.

    Raises:
        InvalidBundle: A file is missing or differs from the contract.
        DatasetError: Another split made the bundle.
    """
    bundle = load_bundle(folder)
    published = json.loads((folder / METRICS).read_text())
    lines = shortfalls(published, read_bars())
    evaluated = published.get("evaluated", {}).get("bundle_sha256")
    if evaluated != bundle.contract.digest():
        lines.append(f"the figures were measured on the bundle {evaluated}, not on {bundle.contract.digest()}")
    if data is not None and slices is not None:
        measured, _ = evaluate_released(folder, space, data, slices, threads)
        lines += differences(measured, published)
    return lines


def _documents(
    recipe: Recipe, space: Workspace, contract: Contract, metrics: dict[str, Any], made: Made
) -> ReleaseDocuments:
    run = space.run(recipe.name)
    audit = summarise(read_manifest(space.manifest))
    split = json.loads((space.data / "split.json").read_text())
    return ReleaseDocuments(
        metrics=metrics,
        card=write_card(contract, recipe, metrics, made),
        others={
            DATA_CARD: write_data_card(audit, split, metrics.get("novelty", {}), contract.classes),
            PREDICTIONS: (run / PREDICTIONS).read_text(),
        },
        figures=[*sorted((run / "figures").glob("*.png")), run / HISTORY],
    )


def evaluate_released(
    folder: Path, space: Workspace, data: Path, slices: Slices, threads: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the figures of a released bundle measured now, and those that it carries.

    Raises:
        DatasetError: The split at hand is not the one that the bundle was trained on.
    """
    # Without remembered outputs: this is a measurement.
    outputs = Outputs(bundle_of_split(folder, space), threads)
    measured = evaluate(outputs, slices, load_outliers(data)).metrics
    return measured, json.loads((folder / METRICS).read_text())


def bundle_of_split(folder: Path, space: Workspace) -> Bundle:
    """Returns the verified bundle in `folder`, which the split at hand must have made.

    Raises:
        DatasetError: Another split has: its held-out images might be among those that the bundle was trained on.
    """
    bundle, ours = load_bundle(folder), space.origin().split_sha256
    theirs = bundle.contract.provenance.split_sha256
    if theirs != ours:
        raise DatasetError(
            f"{bundle.contract.tag} was trained on the split {theirs[:12]}, and {space.data} holds {ours[:12]}:"
            " held-out images would not be held out. Use the same files of the dataset and the same seed."
        )
    return bundle


def differences_from_release(measured: dict[str, Any], models: Path, recipe: Recipe, space: Workspace) -> list[str]:
    """Returns how figures differ from those released for the same recipe and split; one line says so if not at all."""
    folder = models / recipe.bundle_name
    if not (folder / METRICS).is_file():
        return [f"{folder} holds no release to compare with"]
    made = load_bundle(folder).contract.provenance
    if (made.recipe, made.split_sha256) != (recipe.name, space.origin().split_sha256):
        return [f"{folder} was made by another recipe or from another split; its figures are not compared"]
    published = json.loads((folder / METRICS).read_text())
    return differences(measured, published) or [f"as published in {folder / METRICS}"]


def differences(measured: dict[str, Any], published: dict[str, Any]) -> list[str]:
    """Returns a sentence for every headline figure that moved by more than `TOLERANCE`."""
    lines = []
    for figure in HEADLINES:
        now, then = lookup(measured, figure), lookup(published, figure)
        if then is not None and (now is None or abs(now - then) > TOLERANCE):
            lines.append(f"{figure}: measured {now if now is None else round(now, 4)}, published {then:.4f}")
    return lines
