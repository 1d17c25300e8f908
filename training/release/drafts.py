"""A trained run as a bundle that is not released yet: exported once, then calibrated, with its novelty detectors."""

import hashlib
import json
from pathlib import Path

from brainmri.errors import DatasetError
from brainmri.model.bundle import Bundle, file_sha256, write_bundle
from brainmri.model.contract import Calibration, Explanation
from training.data.slices import Slices
from training.data.tables import write_atomically
from training.data.workspace import Workspace
from training.fit.checkpoint import Progress, load_progress, require_same
from training.fit.recipe import Recipe
from training.release.calibrate import calibrate
from training.release.export import export, head_of
from training.release.novelty import fit_novelty
from training.release.outputs import REFERENCE, SERVING, Outputs
from training.release.register import make_contract

DRAFT, DRAFT_VERSION = "draft", "draft"
_EXPORTED = "exported.json"
_DECIDES_EXPORT = (
    "release/export.py",
    "release/export_head.py",
    "release/export_int8.py",
    "release/fold_input.py",
    "fit/architectures.py",
    "fit/classifier_head.py",
    "fit/model.py",
)


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


def plain_draft(recipe: Recipe, space: Workspace, slices: Slices) -> Bundle:
    """Returns the draft without calibration; exports the run unless the same weights have been exported already.

    Raises:
        DatasetError: The run is not trained, or another recipe or split made it.
    """
    trained_run(recipe, space)
    run = space.run(recipe.name)
    stamp = _stamp(recipe, run)
    path = run / "artefacts" / _EXPORTED
    if not (path.is_file() and json.loads(path.read_text())["made_from"] == stamp):
        path.unlink(missing_ok=True)
        exported = export(recipe, run, slices)
        facts = {
            "made_from": stamp,
            "feature_size": exported.feature_size,
            "runtimes": list(exported.folders),
            "explanation": exported.explanation and exported.explanation.model_dump(),
        }
        write_atomically(path, json.dumps(facts).encode())
    return _write(recipe, space, {}, {})


def calibrate_draft(recipe: Recipe, space: Workspace, slices: Slices, threads: int) -> Bundle:
    """Returns the draft with a temperature, a lowest confidence and a novelty detector for each runtime."""
    outputs = Outputs(plain_draft(recipe, space, slices), threads, space.outputs)
    calibrations, detectors = {}, {}
    for choice in (SERVING, REFERENCE):
        name = outputs.name(choice)
        detectors[name] = space.run(recipe.name) / "novelty" / f"{name}.npz"
        novelty = fit_novelty(outputs, choice, slices, detectors[name])
        calibrations[name] = calibrate(outputs, choice, slices).model_copy(update={"novelty": novelty})
    return _write(recipe, space, calibrations, detectors)


def _write(
    recipe: Recipe, space: Workspace, calibrations: dict[str, Calibration], detectors: dict[str, Path]
) -> Bundle:
    run = space.run(recipe.name)
    facts = json.loads((run / "artefacts" / _EXPORTED).read_text())
    contract = make_contract(
        recipe,
        trained_run(recipe, space),
        facts["feature_size"],
        DRAFT_VERSION,
        list(calibrations.values()),
        Explanation(**facts["explanation"]) if facts["explanation"] else None,
    )
    artefacts = {name: run / "artefacts" / name for name in facts["runtimes"]}
    return write_bundle(run / DRAFT, contract, artefacts, {}, "", detectors=detectors, head=head_of(run))


def _stamp(recipe: Recipe, run: Path) -> str:
    best = run / f"best-{len(recipe.phases)}.npz"
    if not best.is_file():
        raise DatasetError(f"{best} does not exist. Run `python -m training train {recipe.name}` to its end first.")
    sources = [Path(__file__).parents[1] / name for name in _DECIDES_EXPORT]
    parts = [recipe.sha256, *(file_sha256(path) for path in (best, *sources))]
    return hashlib.sha256("".join(parts).encode()).hexdigest()
