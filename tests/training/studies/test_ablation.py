from pathlib import Path

import numpy as np
import pytest

from training.data.arrays import Arrays
from training.data.dataset import find_dataset
from training.data.origin import Origin
from training.data.workspace import Workspace
from training.fit.recipe import Phase, Recipe
from training.release.export import trained_network
from training.studies.ablation import ablate, base_recipe, pooled, predict, table, variants

BASE = Recipe(
    name="ablation-base",
    architecture="tiny_xception",
    ema=0.5,
    phases=(Phase(epochs=1, downsample=4, batch_size=16, peak_learning_rate=0.02, warmup_steps=1),),
)
ORIGIN = Origin("a" * 64, "b" * 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ablation")


def test_each_variant_changes_one_choice_and_keeps_the_rest() -> None:
    base, *others = (recipe for _, _, recipe in variants(base_recipe(3), "released"))
    for other in others:
        changed = {name for name in Recipe.model_fields if getattr(other, name) != getattr(base, name)}
        assert len(changed - {"name"}) == 1
    assert len({recipe.name for recipe in (base, *others)}) == len(others) + 1


def test_only_a_teacher_adds_the_variant_that_is_taught() -> None:
    without, taught = (variants(base_recipe(3), teacher) for teacher in ("", "master"))
    assert taught[:-1] == without
    assert taught[-1][0] == "distillation"
    assert taught[-1][2].teachers == ("master",)


def test_without_augmentation_nothing_varies() -> None:
    still = next(recipe for choice, _, recipe in variants(base_recipe(3), "") if choice == "augmentation")
    assert set(still.augmentation.model_dump().values()) == {0.0}


def test_the_table_has_a_row_for_every_choice_and_a_second_run_trains_nothing(
    arrays: Arrays, dataset: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two networks show what five would.
    monkeypatch.setattr("training.studies.ablation.variants", lambda *arguments: variants(*arguments)[:2])
    space, said = Workspace(folder), list[str]()
    rows = ablate(BASE, arrays, ORIGIN, space, find_dataset(dataset), said.append)
    assert [row.choice for row in rows if row.trained] == ["base", "augmentation"]
    assert {row.choice for row in rows if not row.trained} == {"pooling at test time", "resize rule at test time"}
    for row in rows:
        low, high = row.macro_f1_ci95
        assert 0 <= low <= high <= 1
        assert row.log_loss > 0
    states = {path: path.stat().st_mtime_ns for path in folder.glob("*/state.npz")}
    assert len(states) == 2
    assert ablate(BASE, arrays, ORIGIN, space, find_dataset(dataset), said.append) == rows
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/state.npz")} == states
    page = table(rows, BASE)
    assert page.count("\n| ") == len(rows) + 1
    assert "left out, not tried" in page
    assert "--epochs 1 --teacher mentor`" in table(rows, BASE, "mentor")


def test_a_power_mean_of_exponent_one_is_the_networks_own_pooling(arrays: Arrays, dataset: Path, folder: Path) -> None:
    model = trained_network(BASE, Workspace(folder).run(BASE.name))
    np.testing.assert_allclose(pooled(model, arrays, 1.0), predict(model, arrays), rtol=1e-3, atol=1e-4)
    assert not np.allclose(pooled(model, arrays, np.inf), predict(model, arrays), rtol=1e-2)
