"""The recipe that starts from ImageNet weights, at small scale: a weights file made here stands in for Keras's."""

from pathlib import Path

import keras
import numpy as np
import pytest

from brainmri.errors import DatasetError
from training.data.origin import Origin
from training.data.slices import Slices
from training.fit.checkpoint import load_averaged
from training.fit.fit import fit
from training.fit.model import BODY, build_model
from training.fit.recipe import Phase, Recipe, load_recipe

pytestmark = pytest.mark.slow


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


def few(slices: Slices) -> Slices:
    """A dozen images to train on, and one of each label to validate."""
    known = slices.subset("validation")
    of_each_label = [known[slices.labels[known] == label][0] for label in range(4)]
    rows = np.concatenate([slices.subset("train")[::8][:12], of_each_label])
    return Slices(
        slices.pixels[rows],
        [slices.images[number] for number in rows],
        slices.labels[rows],
        slices.groups[rows],
        slices.boxes[rows],
    )


def body_kernels(weights: list[np.ndarray]) -> list[np.ndarray]:
    """The convolutions, which only training changes; the statistics of normalisation move in any case."""
    model = build_model("xception", 4)
    in_body = {id(weight) for weight in model.get_layer(BODY).weights}
    return [
        values
        for weight, values in zip(model.weights, weights, strict=True)
        if id(weight) in in_body and "kernel" in weight.path
    ]


def test_the_released_recipe_starts_from_imagenet_and_ends_at_299_pixels() -> None:
    recipe = load_recipe("released")
    assert recipe.weights == "imagenet"
    assert recipe.phases[-1].downsample == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_head_learns_on_the_given_body_and_then_the_body_moves(
    weights_file: Path, slices: Slices, tmp_path: Path
) -> None:
    given = body_kernels(build_model("xception", 4, str(weights_file)).get_weights())
    recipe = small(load_recipe("released"), str(weights_file))
    phases = [
        phase.model_copy(update={"trainable": part}) for phase, part in zip(recipe.phases, ("head", "all"), strict=True)
    ]
    recipe = recipe.model_copy(update={"phases": tuple(phases), "precision": "float32"})
    fit(recipe, few(slices), Origin("a" * 64, "b" * 64), tmp_path, max_steps=1)
    after_head, after_all = (body_kernels(load_averaged(tmp_path, phase)) for phase in (0, 1))
    assert len(given) > 30
    for before, after in zip(given, after_head, strict=True):
        np.testing.assert_array_equal(after, before)
    assert sum(not np.array_equal(before, after) for before, after in zip(given, after_all, strict=True)) > 30


@pytest.mark.filterwarnings("ignore:Skipping nested container:UserWarning")  # Keras says this before it refuses
def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save_weights(path)
    with pytest.raises(DatasetError, match="cannot be loaded into the body of xception"):
        build_model("xception", 4, str(path))
