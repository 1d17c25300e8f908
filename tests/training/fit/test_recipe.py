from pathlib import Path

import pytest

from brainmri.errors import DatasetError
from training.fit.recipe import RECIPES, load_recipe


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_is_valid_and_named_after_its_file(path: Path) -> None:
    assert load_recipe(path.stem).name == path.stem


def test_the_released_recipe_is_among_them() -> None:
    assert "released" in {path.stem for path in RECIPES.glob("*.yaml")}


def test_a_bad_value_is_quoted_with_its_field(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: r\nlabel_smoothing: 1.5\nphases: [{epochs: 1, downsample: 9}]\n")
    with pytest.raises(DatasetError, match=r"label_smoothing: .*got 1\.5.*phases\.0\.downsample: .*got 9"):
        load_recipe(str(path))


def test_an_unknown_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: r\nlearning_rat: 1\nphases: [{epochs: 1}]\n")
    with pytest.raises(DatasetError, match="learning_rat"):
        load_recipe(str(path))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(DatasetError, match=r"no recipe 'best'.*Known: .*released"):
        load_recipe("best")


def test_what_is_not_yaml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("phases: [")
    with pytest.raises(DatasetError, match="not valid YAML"):
        load_recipe(str(path))
