"""Joins the stages on disk: a trained run becomes an evaluated one, and that a released bundle."""

import json
from pathlib import Path
from typing import Any

from brainmri import store
from brainmri.bundle import METRICS, Bundle, load_bundle, write_bundle
from brainmri.errors import DatasetError
from training.arrays import Arrays
from training.card import write_card
from training.checkpoint import Progress, load_progress
from training.evaluate import evaluate
from training.export import export
from training.fit import require_same
from training.plots import plot_evaluation
from training.recipe import Recipe
from training.register import MODEL_NAME, make_contract, release
from training.tables import write_atomically
from training.workspace import Workspace

DRAFT_VERSION = "draft"
TOLERANCE = 0.005
"""Between CPUs int8 kernels round differently; a figure that moves more than this has changed."""


def trained_run(recipe: Recipe, space: Workspace) -> Progress:
    """Returns the progress of a run that the recipe and the split at hand have made.

    Raises:
        DatasetError: There is no such run, or another recipe or split made it.
    """
    run = space.run(recipe.name)
    progress = load_progress(run)
    if progress is None:
        raise DatasetError(f"{run} holds no trained run. Run `python -m training train {recipe.name}` first.")
    require_same(run, progress, recipe, space.origin().split_sha256)
    return progress


def evaluate_run(recipe: Recipe, space: Workspace, arrays: Arrays, threads: int) -> dict[str, Any]:
    """Exports a trained run, evaluates it as a bundle, and writes `metrics.json` and figures into the run's folder."""
    run, progress = space.run(recipe.name), trained_run(recipe, space)
    artefacts, feature_size = export(recipe, run, arrays)
    draft = write_bundle(run / "draft", make_contract(recipe, progress, feature_size, DRAFT_VERSION), artefacts, {}, "")
    evaluation = evaluate(draft, arrays, threads)
    plot_evaluation(evaluation.subsets, run / "figures")
    write_atomically(run / METRICS, (json.dumps(evaluation.metrics, indent=2) + "\n").encode())
    return evaluation.metrics


def register_run(recipe: Recipe, space: Workspace, version: str, models: Path) -> tuple[Bundle, str, Path]:
    """Writes the bundle of an evaluated run to `models`, imports it into the store, and exports it as an archive.

    Raises:
        DatasetError: The run has not been evaluated, or another recipe or split made it.
        InvalidBundle: The store already holds another model of this version.
    """
    trained_run(recipe, space)
    run = space.run(recipe.name)
    if not (run / METRICS).is_file():
        raise DatasetError(f"{run} has not been evaluated. Run `python -m training evaluate {recipe.name}` first.")
    draft, metrics = load_bundle(run / "draft"), json.loads((run / METRICS).read_text())
    changes = {"version": version, "temperature": metrics["temperature"]}
    contract = draft.contract.from_parts(**draft.contract.model_dump() | changes)
    artefacts = {artefact.runtime: draft.folder / artefact.runtime for artefact in draft.contract.artefacts}
    figures = [*sorted((run / "figures").glob("*.png")), run / "history.png"]
    # The store refuses a version that it has: what is in `models` is replaced only after that.
    card = write_card(contract, recipe, metrics)
    tag = store.import_bundle(release(run / "release", contract, artefacts, metrics, card, figures).folder)
    bundle = release(models / MODEL_NAME, contract, artefacts, metrics, card, figures)
    return bundle, tag, store.export_bundle(tag, run / f"{MODEL_NAME}-{version}.bentomodel")


def evaluate_released(
    folder: Path, space: Workspace, arrays: Arrays, threads: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the figures of a released bundle measured now, and those that it carries.

    Raises:
        DatasetError: The split at hand is not the one that the bundle was trained on.
    """
    return evaluate(bundle_of_split(folder, space), arrays, threads).metrics, json.loads((folder / METRICS).read_text())


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


def differences(measured: dict[str, Any], published: dict[str, Any]) -> list[str]:
    """Returns a sentence for every headline figure that moved by more than `TOLERANCE`."""
    lines = []
    for split in ("given", "leak_free", "grouped"):
        for figure in ("images", "accuracy", "macro_f1", "ece"):
            now, then = measured[split][figure], published[split][figure]
            if abs(now - then) > TOLERANCE:
                lines.append(f"{split}.{figure}: measured {now:.4f}, published {then:.4f}")
    return lines
