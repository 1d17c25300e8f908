"""A run that begins with the weights of a bundle which the recipe's first phases made."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainmri.errors import DatasetError
from brainmri.model.bundle import Bundle, write_bundle
from training.data.origin import Origin
from training.data.slices import Slices
from training.data.workspace import Workspace
from training.fit import checkpoint
from training.fit.fit import fit
from training.fit.recipe import Phase, Recipe
from training.release.adopt import adopt
from training.release.export import KERAS, trained_model, write_keras
from training.release.register import make_contract

pytestmark = pytest.mark.slow

ORIGIN = Origin("a" * 64, "b" * 64)
PHASE = Phase(epochs=1, downsample=4, batch_size=8, peak_learning_rate=0.01, warmup_steps=1)
RECIPE = Recipe(
    name="t",
    architecture="tiny_xception",
    ema=0.9,
    steps=2,
    phases=(PHASE, PHASE.model_copy(update={"epochs": 2})),
)


@pytest.fixture(scope="module")
def bundle(slices: Slices, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """What the first phase made, released."""
    folder, first = tmp_path_factory.mktemp("first"), RECIPE.shortened(1)
    progress = fit(first, slices, ORIGIN, folder / "t")
    (folder / KERAS).mkdir()
    write_keras(trained_model(first, folder / "t"), folder / KERAS)
    contract = make_contract(first, progress, 16, "0.0.1", [])
    return write_bundle(folder / "bundle", contract, {KERAS: folder / KERAS}, {}, "")


def test_training_goes_on_from_the_bundles_weights(bundle: Bundle, slices: Slices, tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    assert adopt(RECIPE, bundle, 1, space).epoch == 1
    adopted = checkpoint.load_averaged(space.run("t"), 0)
    trained = checkpoint.load_averaged(bundle.folder.parent / "t", 0)
    for ours, theirs in zip(adopted, trained, strict=True):
        np.testing.assert_array_equal(ours, theirs.astype(np.float16).astype(np.float32))
    progress = fit(RECIPE, slices, ORIGIN, space.run("t"), resume=True)
    assert [(row["epoch"], row["phase"]) for row in progress.history] == [(2, 2), (3, 2)]


def test_a_run_that_exists_is_not_written_over(bundle: Bundle, tmp_path: Path) -> None:
    adopt(RECIPE, bundle, 1, Workspace(tmp_path))
    with pytest.raises(DatasetError, match="holds a run already"):
        adopt(RECIPE, bundle, 1, Workspace(tmp_path))


@pytest.mark.parametrize("phases", [0, 3])
def test_there_must_be_so_many_phases(bundle: Bundle, tmp_path: Path, phases: int) -> None:
    with pytest.raises(DatasetError, match="t has 2 phases: adopt 1 to 2 of them"):
        adopt(RECIPE, bundle, phases, Workspace(tmp_path))


def test_a_run_that_is_adopted_whole_is_exported_anew(bundle: Bundle, tmp_path: Path) -> None:
    recipe = RECIPE.shortened(1)
    (bundle.folder / "figures").mkdir(exist_ok=True)
    (bundle.folder / "figures" / "history.png").write_bytes(b"curves")
    run = Workspace(tmp_path).run("t")
    assert adopt(recipe, bundle, 1, Workspace(tmp_path)).stopped
    write_keras(trained_model(recipe, run), run)
    with np.load(run / "weights.npz") as ours, np.load(bundle.folder / KERAS / "weights.npz") as theirs:
        assert [ours[name].tolist() for name in ours] == [theirs[name].tolist() for name in theirs]
    assert (run / "history.png").read_bytes() == b"curves"


def test_another_recipes_bundle_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="made by the recipe 't', not 'other'"):
        adopt(RECIPE.model_copy(update={"name": "other"}), bundle, 1, Workspace(tmp_path))


def test_a_bundle_without_keras_weights_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    other = replace(bundle, contract=bundle.contract.model_copy(update={"artefacts": ()}))
    with pytest.raises(DatasetError, match="no Keras weights"):
        adopt(RECIPE, other, 1, Workspace(tmp_path))
