from pathlib import Path

import numpy as np
import pytest
import yaml

from brainmri.errors import DatasetError
from training.fit.augment import augment
from training.fit.framing import reframe
from training.fit.recipe import RECIPES, Phase, Recipe, load_recipe
from training.fit.styles import restyle


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


def test_hashes_of_recipes_from_before_a_field_stay() -> None:
    # Runs and releases remember these.
    assert load_recipe("released").sha256 == "6e35ce0f60f9fe651c991a293caede679329956df3fd1b9e7318fd31d354080f"
    plain = Recipe(name="t", phases=(Phase(epochs=1),))
    assert plain.sha256 == "9efc83d47158586cdaa2247d8f560d44fcddf35da43c35b26640ea28222dc698"


@pytest.mark.parametrize(
    "changed",
    [
        {"head": "gap_256"},
        {"keep": "best"},
        {"framing": {"zoom": (1, 1)}},
        {"augmentation": {"contrast": 0.1}},
        {"phases": [{"epochs": 1, "side": 128}]},
        {"phases": [{"epochs": 1, "schedule": "plateau"}]},
    ],
)
def test_what_a_later_field_says_counts_in_the_hash(changed: dict[str, object]) -> None:
    plain: dict[str, object] = {"name": "t", "phases": [{"epochs": 1}]}
    assert Recipe.model_validate(plain | changed).sha256 != Recipe.model_validate(plain).sha256


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("architecture: lenet", r"architecture: There is no architecture 'lenet'\. Known: custom_cnn, .*xception"),
        ("head: gap_64", r"head: there is no such head, only gap_128, .*flatten_512 \(got 'gap_64'\)"),
        ("preset: wild", r"there is no preset 'wild', only none, brightness_contrast, rotation_shift_zoom_flip$"),
        ("{optimizer: adam, weight_decay: 0.1}", r"adam has no weight decay: leave weight_decay out, or choose adamw$"),
        ("{head: max_128, localisation: 0.2}", r"max_128 has no heat map, .* choose among gap_128, gap_256$"),
        ("phases: [{epochs: 1, side: 99, downsample: 2}]", r"side 99 and downsample 2: give one of them$"),
        ("phases: [{epochs: 1, side: 8}]", r"side 8: the smallest is 32 pixels$"),
    ],
)
def test_what_does_not_fit_together_is_told_with_what_does(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    fields = {"name": "r", "phases": [{"epochs": 1}]} | yaml.safe_load(text)
    path.write_text(yaml.safe_dump(fields))
    with pytest.raises(DatasetError, match=told):
        load_recipe(str(path))


def test_a_preset_stands_for_several_fields_and_yields_to_what_the_recipe_says() -> None:
    plain: dict[str, object] = {"name": "t", "phases": [{"epochs": 1}]}
    light = Recipe.model_validate(plain | {"preset": "brightness_contrast"})
    assert (light.augmentation.brightness, light.augmentation.contrast, light.augmentation.noise) == (0.2, 0.2, 0)
    assert (light.framing.rotation, light.framing.zoom) == (0, (1.0, 1.0))
    moved = Recipe.model_validate(plain | {"preset": "rotation_shift_zoom_flip", "augmentation": {"noise": 2}})
    assert (moved.framing.rotation, moved.framing.shift, moved.framing.flip) == (15, 0.1, 0.5)
    assert (moved.framing.zoom, moved.augmentation.noise) == ((0.9, 1.1), 2)


def test_the_preset_none_leaves_images_as_they_are() -> None:
    how = Recipe.model_validate({"name": "t", "preset": "none", "phases": [{"epochs": 1}]})
    image = np.random.default_rng(1).integers(0, 256, (64, 64)).astype(np.float32)
    rng = np.random.default_rng(2)
    framed, _ = reframe(image, None, how.framing, rng)
    np.testing.assert_array_equal(augment(restyle(framed, None, image, how.styles, rng), how.augmentation, rng), image)


def test_a_network_sees_the_side_of_its_phase_or_its_own() -> None:
    phases = (Phase(epochs=1), Phase(epochs=1, downsample=2), Phase(epochs=1, side=160))
    for name, sides in (("xception", [299, 149, 160]), ("custom_cnn", [128, 149, 160])):
        recipe = Recipe(name="t", architecture=name, phases=phases)
        assert [recipe.side(phase) for phase in phases] == sides
    assert Recipe(name="t", phases=phases).network(phases[1]) == {"architecture": "xception", "downsample": 2}
