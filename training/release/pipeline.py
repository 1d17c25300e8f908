"""Joins the stages on disk: a trained run becomes an evaluated one, and that a released bundle."""

import json
from pathlib import Path
from typing import Any

from brainmri.errors import DatasetError
from brainmri.model import store
from brainmri.model.bundle import METRICS, Bundle, load_bundle
from brainmri.model.contract import Contract
from training.data.arrays import Arrays
from training.data.audit import read_manifest, summarise
from training.data.dataset import find_dataset
from training.data.outliers import load_outliers
from training.data.tables import write_atomically
from training.data.workspace import Workspace
from training.fit.checkpoint import HISTORY
from training.fit.recipe import Recipe
from training.release.card import write_card
from training.release.data_card import write_data_card
from training.release.drafts import DRAFT, calibrate_draft, trained_run
from training.release.evaluate import evaluate
from training.release.evaluation_plots import plot_evaluation
from training.release.export_figures import Held, measure
from training.release.export_speed import processor
from training.release.outputs import REFERENCE, SERVING, Outputs
from training.release.predictions import PREDICTIONS, prediction_rows, write_predictions
from training.release.register import MODEL_NAME, ReleaseDocuments, release

DATA_CARD = "data_card.md"
TOLERANCE = 0.005
"""Between CPUs int8 kernels round differently; a figure that moves more than this has changed."""


def evaluate_run(recipe: Recipe, space: Workspace, data: Path, arrays: Arrays, threads: int) -> dict[str, Any]:
    """Exports and calibrates a trained run, evaluates it as a bundle, and compares what it serves with the reference.

    Writes `metrics.json`, `predictions.csv` and figures into the run's folder, and returns the metrics.
    """
    run = space.run(recipe.name)
    outputs = Outputs(calibrate_draft(recipe, space, arrays, threads), threads, space.outputs)
    outliers = load_outliers(data)
    evaluation = evaluate(outputs, arrays, find_dataset(data), outliers)
    held = Held(arrays, outliers)
    runtimes = [measure(outputs, choice, held, processor(threads), threads) for choice in (SERVING, REFERENCE)]
    figures = evaluation.metrics | {"runtimes": [each.model_dump() for each in runtimes]}
    plot_evaluation(evaluation, outputs, outliers, arrays, run / "figures")
    write_predictions(run / PREDICTIONS, prediction_rows(evaluation.splits, arrays))
    write_atomically(run / METRICS, (json.dumps(figures, indent=2) + "\n").encode())
    return figures


def register_run(recipe: Recipe, space: Workspace, version: str, models: Path) -> tuple[Bundle, str, Path]:
    """Writes the bundle of an evaluated run to `models`, imports it into the store, and exports it as an archive.

    Raises:
        DatasetError: The run has not been evaluated, or another recipe or split made it.
        InvalidBundle: The store already holds another model of this version.
    """
    progress = trained_run(recipe, space)
    run = space.run(recipe.name)
    if not (run / METRICS).is_file():
        raise DatasetError(f"{run} has not been evaluated. Run `python -m training evaluate {recipe.name}` first.")
    draft, metrics = load_bundle(run / DRAFT), json.loads((run / METRICS).read_text())
    released = {"version": version, "measurements": metrics["runtimes"]}
    contract = draft.contract.from_parts(**draft.contract.model_dump() | released)
    documents = _documents(recipe, space, contract, metrics, progress.adopted)
    # The store refuses a version that it has: what is in `models` is replaced only after that.
    tag = store.import_bundle(release(run / "release", contract, draft.folder, documents).folder)
    bundle = release(models / MODEL_NAME, contract, draft.folder, documents)
    return bundle, tag, store.export_bundle(tag, run / f"{MODEL_NAME}-{version}.bentomodel")


def _documents(
    recipe: Recipe, space: Workspace, contract: Contract, metrics: dict[str, Any], adopted: str
) -> ReleaseDocuments:
    run = space.run(recipe.name)
    audit = summarise(read_manifest(space.manifest))
    split = json.loads((space.data / "split.json").read_text())
    return ReleaseDocuments(
        metrics=metrics,
        card=write_card(contract, recipe, metrics, adopted),
        others={
            DATA_CARD: write_data_card(audit, split, metrics.get("novelty", {})),
            PREDICTIONS: (run / PREDICTIONS).read_text(),
        },
        figures=[*sorted((run / "figures").glob("*.png")), run / HISTORY],
    )


def evaluate_released(
    folder: Path, space: Workspace, data: Path, arrays: Arrays, threads: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the figures of a released bundle measured now, and those that it carries.

    Raises:
        DatasetError: The split at hand is not the one that the bundle was trained on.
    """
    # Without remembered outputs: this is a measurement.
    outputs = Outputs(bundle_of_split(folder, space), threads)
    measured = evaluate(outputs, arrays, find_dataset(data), load_outliers(data)).metrics
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


def differences_from_release(measured: dict[str, Any], models: Path, recipe_name: str, space: Workspace) -> list[str]:
    """Returns how figures differ from those released for the same recipe and split; one line says so if not at all."""
    folder = models / MODEL_NAME
    if not (folder / METRICS).is_file():
        return [f"{folder} holds no release to compare with"]
    made = load_bundle(folder).contract.provenance
    if (made.recipe, made.split_sha256) != (recipe_name, space.origin().split_sha256):
        return [f"{folder} was made by another recipe or from another split; its figures are not compared"]
    published = json.loads((folder / METRICS).read_text())
    return differences(measured, published) or [f"as published in {folder / METRICS}"]


def differences(measured: dict[str, Any], published: dict[str, Any]) -> list[str]:
    """Returns a sentence for every headline figure that moved by more than `TOLERANCE`."""
    lines = []
    for split in ("given", "leak_free", "grouped"):
        for figure in ("images", "accuracy", "macro_f1", "ece"):
            now, then = measured[split][figure], published[split][figure]
            if abs(now - then) > TOLERANCE:
                lines.append(f"{split}.{figure}: measured {now:.4f}, published {then:.4f}")
    for figure in ("far", "near"):
        if figure in published.get("novelty", {}) and figure in measured.get("novelty", {}):
            now, then = measured["novelty"][figure]["auroc"], published["novelty"][figure]["auroc"]
            if abs(now - then) > TOLERANCE:
                lines.append(f"novelty.{figure}.auroc: measured {now:.4f}, published {then:.4f}")
    return lines
