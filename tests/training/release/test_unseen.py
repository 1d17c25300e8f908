"""Tumours of another source, asked of the last phase that has seen none of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from brainmri.errors import DatasetError
from training.data.slices import NOTUMOR, UNNAMED, Slices
from training.fit import checkpoint
from training.fit.model import LOGITS, build_model
from training.fit.recipe import Phase, Recipe
from training.release.unseen import last_phase_without, measure_unseen

NAMED = {"glioma": 0.5, "notumor": 0.5}
SOME = {"glioma": 0.4, "notumor": 0.4, "tumour": 0.2}


def recipe(*shares: dict[str, float]) -> Recipe:
    phases = tuple(Phase(epochs=1, downsample=4, shares=each) for each in shares)
    return Recipe(name="t", architecture="tiny_xception", phases=phases)


def test_the_last_phase_before_the_first_with_unnamed_tumours_is_asked() -> None:
    assert last_phase_without(recipe(NAMED, NAMED, SOME, NAMED)) == 1
    assert last_phase_without(recipe(NAMED, NAMED)) == 1


def test_a_recipe_that_begins_with_unnamed_tumours_is_refused() -> None:
    with pytest.raises(DatasetError, match="from its start"):
        last_phase_without(recipe(SOME, NAMED))


@pytest.mark.parametrize(("favoured", "found"), [(0, 1.0), (NOTUMOR, 0.0)])
def test_every_unnamed_tumour_is_asked_and_the_figures_are_written(
    slices: Slices, tmp_path: Path, favoured: int, found: float
) -> None:
    model = build_model("tiny_xception", 4, seed=1)
    kernel, bias = model.get_layer(LOGITS).get_weights()
    model.get_layer(LOGITS).set_weights([0 * kernel, np.eye(4)[favoured] + 0 * bias])
    checkpoint.save_averaged(tmp_path, 0, model.get_weights())
    figures = measure_unseen(recipe(NAMED, SOME), tmp_path, slices)
    assert (figures["images"], figures["groups"]) == (8, 8) == ((slices.labels == UNNAMED).sum(), 8)
    assert figures["found"] == found
    assert figures["found_ci95"] == [found, found]
    assert figures["network"] == "phase 1 of t, 74 pixels, float32"
    assert json.loads((tmp_path / "unseen.json").read_text()) == figures
