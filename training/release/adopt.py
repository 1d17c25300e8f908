"""Takes a released bundle's weights as the result of the phases that made it, where the run itself is gone.

Best weights, their origin and the picture of their training come back; histories and the optimiser do not, and the next
phase needs neither. When every phase is adopted, nothing is left to train, but to export, calibrate and evaluate anew.
"""

import shutil

import keras
import numpy as np

from brainmri.errors import DatasetError
from brainmri.model.bundle import Bundle
from training.data.workspace import Workspace
from training.fit import checkpoint
from training.fit.checkpoint import Progress
from training.fit.model import HIDDEN, build_model, use_serving_layout, with_features
from training.fit.recipe import Recipe
from training.release.export import KERAS


def adopt(recipe: Recipe, bundle: Bundle, phases: int, space: Workspace) -> Progress:
    """Writes the run of the recipe's first `phases` phases as if they had just ended, and returns its progress.

    The float16 weights of the bundle are what comes back: training goes on from those, rounded once.

    Args:
        recipe: Whose run begins.
        bundle: From `pipeline.bundle_of_split`.
        phases: How many of the recipe's phases made the bundle.
        space: Receives the run.

    Raises:
        DatasetError: The recipe has fewer phases, the run exists, the bundle was made by another recipe, or it carries
            no Keras weights.
    """
    run = space.run(recipe.name)
    _require_made_by(recipe, bundle, phases)
    if checkpoint.load_progress(run) is not None:
        raise DatasetError(f"{run} holds a run already. Continue that one with --resume, or remove it.")
    made, part = bundle.contract.provenance, recipe.shortened(phases)
    progress = Progress(
        recipe_sha256=part.sha256,
        split_sha256=made.split_sha256,
        manifest_sha256=made.data_sha256,
        code_revision=made.code_revision,
        keras_backend=made.keras_backend,
        keras_version=made.keras_version,
        epoch=sum(phase.length for phase in part.phases),
        phase=phases - 1,
        stopped=True,
        adopted=bundle.contract.tag,
    )
    model = _network(recipe, bundle, phases)
    checkpoint.save_averaged(run, phases - 1, model.get_weights())
    checkpoint.save_adopted(run, progress)
    if (curves := bundle.folder / "figures" / checkpoint.HISTORY).is_file():
        shutil.copyfile(curves, run / checkpoint.HISTORY)
    return progress


def _require_made_by(recipe: Recipe, bundle: Bundle, phases: int) -> None:
    if not 1 <= phases <= len(recipe.phases):
        raise DatasetError(f"{recipe.name} has {len(recipe.phases)} phases: adopt 1 to {len(recipe.phases)} of them.")
    made = bundle.contract.provenance
    if made.recipe != recipe.name:
        raise DatasetError(f"{bundle.contract.tag} was made by the recipe {made.recipe!r}, not {recipe.name!r}.")


def _network(recipe: Recipe, bundle: Bundle, phases: int) -> keras.Model:
    artefact = bundle.artefact(KERAS)
    if artefact is None:
        raise DatasetError(f"{bundle.contract.tag} carries no Keras weights to adopt.")
    use_serving_layout()
    model = build_model(**recipe.network(recipe.phases[phases - 1]))
    serving = with_features(model)
    with np.load(bundle.file(artefact, ".npz"), allow_pickle=False) as stored:
        serving.set_weights([stored[name].astype(np.float32) for name in sorted(stored.files)])
    # All other variables are shared.
    model.get_layer(HIDDEN).set_weights(serving.get_layer(HIDDEN).get_weights())
    return model
