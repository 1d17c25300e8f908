"""Joins the stages on disk: a trained run becomes an evaluated one, and that a released bundle."""

import json
from pathlib import Path
from typing import Any

from brainmri import store
from brainmri.bundle import METRICS, Bundle, load_bundle, write_bundle
from training.arrays import Arrays
from training.card import write_card
from training.evaluate import evaluate
from training.export import export, trained_model
from training.plots import plot_evaluation
from training.recipe import Recipe
from training.register import MODEL_NAME, Origin, make_contract, release
from training.tables import write_atomically
from training.workspace import Workspace

DRAFT_VERSION = "draft"
TOLERANCE = 0.005
"""Between CPUs int8 kernels round differently; a figure that moves more than this has changed."""


def evaluate_run(recipe: Recipe, space: Workspace, arrays: Arrays, threads: int) -> dict[str, Any]:
    """Exports a trained run, evaluates it as a bundle, and writes `metrics.json` and figures into the run's folder."""
    run = space.run(recipe.name)
    artefacts = export(recipe, run, arrays)
    contract = make_contract(recipe, _origin(space), trained_model(recipe, run), DRAFT_VERSION)
    draft = write_bundle(run / "draft", contract, artefacts, {}, "")
    evaluation = evaluate(draft, arrays, threads)
    plot_evaluation(evaluation.subsets, run / "figures")
    write_atomically(run / METRICS, (json.dumps(evaluation.metrics, indent=2) + "\n").encode())
    return evaluation.metrics


def register_run(
    recipe: Recipe, space: Workspace, version: str, models: Path, archive: Path | None
) -> tuple[Bundle, str, Path | None]:
    """Writes the released bundle of an evaluated run, imports it into the store and optionally exports an archive."""
    run = space.run(recipe.name)
    draft = load_bundle(run / "draft")
    metrics = json.loads((run / METRICS).read_text())
    contract = make_contract(
        recipe, _origin(space), trained_model(recipe, run), version, temperature=metrics["temperature"]
    )
    artefacts = {artefact.runtime: draft.folder / artefact.runtime for artefact in draft.contract.artefacts}
    figures = [*sorted((run / "figures").glob("*.png")), run / "history.png"]
    bundle = release(models / MODEL_NAME, contract, artefacts, metrics, write_card(contract, recipe, metrics), figures)
    tag = store.import_bundle(bundle.folder)
    return bundle, tag, store.export_bundle(tag, archive) if archive else None


def evaluate_released(
    folder: Path, space: Workspace, arrays: Arrays, threads: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the figures of a released bundle measured now, and those that it carries."""
    bundle = load_bundle(folder)
    return evaluate(bundle, arrays, threads).metrics, json.loads((folder / METRICS).read_text())


def differences(measured: dict[str, Any], published: dict[str, Any]) -> list[str]:
    """Returns a sentence for every headline figure that moved by more than `TOLERANCE`."""
    lines = []
    for split in ("given", "leak_free", "grouped"):
        for figure in ("images", "accuracy", "macro_f1", "ece"):
            now, then = measured[split][figure], published[split][figure]
            if abs(now - then) > TOLERANCE:
                lines.append(f"{split}.{figure}: measured {now:.4f}, published {then:.4f}")
    return lines


def _origin(space: Workspace) -> Origin:
    facts = space.split_facts()
    return Origin(data_sha256=facts["manifest_sha256"], split_sha256=facts["sha256"])
