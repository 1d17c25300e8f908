"""The recipe that starts from ImageNet weights, at small scale: a weights file made here stands in for Keras's."""

from pathlib import Path

import keras
import numpy as np
import pytest

from brainmri.errors import DatasetError
from training.data.arrays import Arrays
from training.data.origin import Origin
from training.data.split import SplitRow
from training.fit.checkpoint import load_best
from training.fit.fit import fit
from training.fit.model import BODY, build_model
from training.fit.recipe import Phase, Recipe, load_recipe


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of Xception's body without top, in the file format that Keras publishes."""
    keras.config.set_image_data_format("channels_last")
    path = tmp_path_factory.mktemp("weights") / "xception_notop.weights.h5"
    keras.utils.set_random_seed(7)
    keras.applications.Xception(include_top=False, weights=None, input_shape=(None, None, 3)).save_weights(path)
    return path


def small(recipe: Recipe, weights: str) -> Recipe:
    """The recipe with one epoch a phase of 74 pixels and four images."""
    phases = tuple(
        Phase(**phase.model_dump() | {"epochs": 1, "downsample": 4, "batch_size": 4, "warmup_steps": 0})
        for phase in recipe.phases
    )
    return recipe.model_copy(update={"weights": weights, "phases": phases, "ema": 0.0})


def few(arrays: Arrays) -> Arrays:
    """A dozen images to train on and four to validate."""
    train, validation = arrays.subset("train")[::4][:12], arrays.subset("validation")[:4]
    rows = np.concatenate([train, validation])
    chosen: list[SplitRow] = [arrays.rows[number] for number in rows]
    return Arrays(arrays.pixels[rows], arrays.labels[rows], arrays.groups[rows], chosen)


def body_kernels(weights: list[np.ndarray]) -> list[np.ndarray]:
    """The convolutions, which only training changes; the statistics of normalisation move in any case."""
    model = build_model("xception", 4)
    in_body = {id(weight) for weight in model.get_layer(BODY).weights}
    return [
        values
        for weight, values in zip(model.weights, weights, strict=True)
        if id(weight) in in_body and "kernel" in weight.path
    ]


def test_the_recipe_asks_for_imagenet_and_trains_the_head_first() -> None:
    recipe = load_recipe("imagenet")
    assert recipe.weights == "imagenet"
    assert [phase.trainable for phase in recipe.phases] == ["head", "all"]
    assert recipe.phases[-1].downsample == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_head_learns_on_the_given_body_and_then_the_body_moves(
    weights_file: Path, arrays: Arrays, tmp_path: Path
) -> None:
    given = body_kernels(build_model("xception", 4, str(weights_file)).get_weights())
    recipe = small(load_recipe("imagenet"), str(weights_file))
    fit(recipe, few(arrays), Origin("a" * 64, "b" * 64), tmp_path, max_steps=1)
    after_head, after_all = (body_kernels(load_best(tmp_path, phase)) for phase in (0, 1))
    assert len(given) > 30
    for before, after in zip(given, after_head, strict=True):
        np.testing.assert_array_equal(after, before)
    assert sum(not np.array_equal(before, after) for before, after in zip(given, after_all, strict=True)) > 30


def test_a_teachers_weights_come_from_a_file_and_are_adapted_to_the_slices(arrays: Arrays, tmp_path: Path) -> None:
    path = tmp_path / "mobilenet_v2_notop.weights.h5"
    keras.utils.set_random_seed(7)
    source = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(None, None, 3))
    source.save_weights(path)
    teacher = load_recipe("teacher")
    phase = teacher.phases[0].model_copy(
        update={"epochs": 1, "downsample": 4, "batch_size": 4, "peak_learning_rate": 1e-9}
    )
    small_teacher = teacher.model_copy(update={"phases": (phase,), "ema": 0.0, "weight_decay": 0.0})
    fit(small_teacher, few(arrays), Origin("a" * 64, "b" * 64), tmp_path / "run", max_steps=1, weights_file=str(path))
    trained = build_model("mobilenet_v2", 4)
    trained.set_weights(load_best(tmp_path / "run", 0))
    body = trained.get_layer(BODY)
    for layer in source.layers:
        if "kernel" in "".join(weight.path for weight in layer.weights):
            np.testing.assert_allclose(body.get_layer(layer.name).get_weights()[0], layer.get_weights()[0], atol=1e-6)
    assert not np.allclose(body.get_layer("bn_Conv1").gamma, 1.0, atol=0.05)


@pytest.mark.filterwarnings("ignore:Skipping nested container:UserWarning")  # Keras says this before it refuses
def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save_weights(path)
    with pytest.raises(DatasetError, match="cannot be loaded into Xception without top"):
        build_model("xception", 4, str(path))
