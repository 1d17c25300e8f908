"""Every registered body with every head: what it computes, what of it is trained, and how a stranger adds one."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from brainmri.errors import DatasetError
from training.data.origin import Origin
from training.data.slices import Slices
from training.fit import architectures
from training.fit.architectures import Architecture, register, registered
from training.fit.classifier_head import HEADS
from training.fit.fit import fit
from training.fit.model import BODY, FEATURE_MAP, FEATURES, HIDDEN, build_model, set_trainable, with_features
from training.fit.recipe import RECIPES, Phase, Recipe, load_recipe

BODIES = ("custom_cnn", "mobilenet_v2", "resnet50", "vgg16", "xception")


def random_images(count: int = 2) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 299, 299, 3), dtype=np.uint8)


def asked(model: keras.Model, images: NDArray[np.floating] | NDArray[np.uint8]) -> Any:
    """Returns a model's outputs without compiling it: each is asked once."""
    return keras.tree.map_structure(np.asarray, model(images, training=False))


@pytest.mark.parametrize("name", BODIES)
def test_every_architecture_serves_what_it_learnt_with_features_of_a_late_layer(name: str) -> None:
    model = build_model(name, seed=1, side=64)
    images = random_images()
    serving = with_features(model)
    outputs = asked(serving, images)
    np.testing.assert_allclose(outputs["logits"], asked(model, images), rtol=1e-3, atol=1e-4)
    late = model.get_layer(BODY).get_layer(registered(name).features).output
    assert outputs["features"].shape == (2, late.shape[-1])
    assert (FEATURE_MAP in outputs) == HEADS[registered(name).head].explains


@pytest.mark.parametrize("head", sorted(HEADS))
def test_every_head_has_its_units_and_dropouts(head: str) -> None:
    model = build_model("tiny_xception", 4, seed=1, head=head)
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    wanted = {
        "gap_128": (128, [0.30, 0.25]),
        "max_128": (128, [0.30, 0.25]),
        "flatten_128": (128, [0.30, 0.25]),
        "gap_256": (256, [0.50]),
        "flatten_512": (512, [0.50]),
    }
    assert (model.get_layer(HIDDEN).units, rates) == wanted[head]
    images = random_images()
    served = asked(with_features(model), images)
    np.testing.assert_allclose(served["logits"], asked(model, images), atol=1e-5)
    assert (FEATURE_MAP in served) == head.startswith("gap_")


def test_the_largest_value_and_every_cell_reach_their_heads() -> None:
    feature_map = np.arange(2 * 3 * 3 * 2, dtype=np.float32).reshape(2, 3, 3, 2)
    inputs = keras.Input((3, 3, 2))
    for head, expected in (("max_128", feature_map.max(axis=(1, 2))), ("flatten_128", feature_map.reshape(2, -1))):
        model = keras.Model(inputs, HEADS[head](inputs, 4, 0))
        pooled = asked(keras.Model(inputs, model.get_layer(FEATURES).output), feature_map)
        np.testing.assert_array_equal(pooled, expected)


def test_pixels_reach_each_body_in_the_range_that_it_expects() -> None:
    grey = np.full((1, 299, 299, 3), 255, np.uint8)
    for name, expected in (
        ("custom_cnn", [1, 1, 1]),
        ("xception", [1, 1, 1]),
        ("vgg16", [255 - 123.68, 255 - 116.779, 255 - 103.939]),
    ):
        model = build_model(name, side=64)
        stem = keras.Model(model.input, model.layers[model.layers.index(model.get_layer(BODY)) - 1].output)
        seen = asked(stem, grey)
        assert seen.shape == (1, 64, 64, 3)
        np.testing.assert_allclose(seen[0, 5, 5], expected, rtol=1e-5)


def test_the_custom_cnn_has_four_blocks_and_sees_128_pixels() -> None:
    model = build_model("custom_cnn")
    kinds = [type(layer).__name__ for layer in model.get_layer(BODY).layers[1:]]
    assert kinds == ["Conv2D", "MaxPooling2D"] * 4
    assert [layer.filters for layer in model.get_layer(BODY).layers[1::2]] == [32, 64, 128, 256]
    assert model.get_layer(FEATURES).output.shape == (None, 8 * 8 * 256)


@pytest.mark.parametrize("name", BODIES)
def test_a_phase_may_train_the_last_layers_alone(name: str) -> None:
    model = build_model(name, side=64)
    set_trainable(model, "top")
    body = model.get_layer(BODY)
    first = body.layers.index(body.get_layer(registered(name).top_from))
    assert not any(layer.trainable_weights for layer in body.layers[:first])
    trained = {weight.path for weight in model.trainable_weights}
    in_body = [layer for layer in body.layers[first:] if layer.trainable_weights]
    assert in_body
    assert len(trained) == 4 + sum(len(layer.trainable_weights) for layer in in_body)
    set_trainable(model, "head")
    assert len(model.trainable_weights) == 4


def minimal_body(shape: tuple[int | None, ...], weights: str | None) -> keras.Model:
    del weights
    image = keras.Input(shape)
    x = keras.layers.Conv2D(4, 3, strides=4, activation="relu", name="first")(image)
    return keras.Model(image, keras.layers.Conv2D(6, 3, activation="relu", name="second")(x), name=BODY)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Architecture:
    monkeypatch.setattr(architectures, "_known", dict(architectures._known))
    mine = Architecture(
        name="mine",
        title="Mine",
        build=minimal_body,
        input_range="zero_to_one",
        side=96,
        features="first",
        top_from="second",
        head="gap_256",
    )
    register(mine)
    return mine


def test_an_architecture_of_ones_own_is_named_in_a_recipe_and_trained(
    added: Architecture, slices: Slices, tmp_path: Path
) -> None:
    recipe = Recipe(name="m", architecture=added.name, steps=2, phases=(Phase(epochs=1, batch_size=4),))
    assert (recipe.side(recipe.phases[0]), recipe.bundle_name) == (96, "brain_mri_mine")
    progress = fit(recipe, slices, Origin("a" * 64, "b" * 64), tmp_path)
    assert [row["epoch"] for row in progress.history] == [1]
    assert np.isfinite(progress.history[0]["loss"])


def test_a_name_belongs_to_one_architecture(added: Architecture) -> None:
    register(added)
    with pytest.raises(DatasetError, match="an architecture 'mine' already"):
        register(Architecture("mine", "Other", minimal_body, "zero_to_one", 96, "first", "second"))


def test_a_side_that_the_graph_cannot_give_is_refused() -> None:
    with pytest.raises(DatasetError, match="The side of big is 512: choose one from 32 to 299 pixels"):
        Architecture("big", "Big", minimal_body, "zero_to_one", 512, "first", "second")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_runs_a_few_steps(path: Path, slices: Slices, tmp_path: Path) -> None:
    recipe = load_recipe(str(path))
    small = {"downsample": 1, "side": 64, "batch_size": 2, "epochs": 1, "stop_after": 0}
    phases = tuple(phase.model_copy(update=small) for phase in recipe.phases)
    changes = {"phases": phases, "weights": "none", "precision": "float32", "localisation": 0.0}
    few = recipe.model_copy(update=changes)
    progress = fit(few, slices, Origin("a" * 64, "b" * 64), tmp_path, max_steps=2)
    assert progress.epoch == len(phases)
    assert all(np.isfinite(row["loss"]) for row in progress.history)
