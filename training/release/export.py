"""From trained Keras weights to the artefacts of a bundle, each compared with the trained model.

`keras-f16` is the reference (architecture as JSON, weights as float16 arrays, no pickle); `openvino-int8` is what
serves: post-training quantisation with NNCF on training images, one of each near-duplicate group.
"""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import openvino
from numpy.typing import NDArray

from brainmri.errors import DatasetError
from brainmri.model.contract import Explanation
from training.data.slices import Slices
from training.data.sources import TRAIN, VALIDATION
from training.fit.checkpoint import load_averaged
from training.fit.model import (
    FEATURE_MAP,
    FEATURES,
    LOGITS,
    NOVELTY_FEATURES,
    build_model,
    use_serving_layout,
    with_features,
)
from training.fit.recipe import Recipe
from training.release.export_head import HEAD, export_head
from training.release.export_int8 import write_int8

KERAS, OPENVINO_INT8 = "keras-f16", "openvino-int8"
CALIBRATION_IMAGES = 300


@dataclass(frozen=True)
class Exported:
    """What a trained run gave.

    Attributes:
        folders: Runtime name to artefact folder.
        feature_size: Length of the feature vector.
        explanation: Of the contract; None for a head without heat maps.
    """

    folders: dict[str, Path]
    feature_size: int
    explanation: Explanation | None


def trained_network(recipe: Recipe, run: Path) -> keras.Model:
    """Returns the trained model with the last phase's best weights in float32, in the layout that serves.

    Raises:
        DatasetError: The run has no trained weights.
    """
    keras.config.set_dtype_policy("float32")
    use_serving_layout()
    weights = load_averaged(run, len(recipe.phases) - 1)
    # The bias of the logits comes last.
    model = build_model(**recipe.network(recipe.phases[-1]), classes=len(weights[-1]))
    model.set_weights(weights)
    return model


def trained_model(recipe: Recipe, run: Path) -> keras.Model:
    """Returns `trained_network` for serving, with every output; see `with_features`."""
    return with_features(trained_network(recipe, run))


def export(recipe: Recipe, run: Path, slices: Slices) -> Exported:
    """Writes every artefact of a trained run.

    Args:
        recipe: What was trained.
        run: The run's folder; artefacts go below `artefacts/`.
        slices: The dataset, for the quantiser's calibration images.

    Raises:
        DatasetError: The run has no trained weights.
    """
    model = trained_model(recipe, run)
    folders = {name: run / "artefacts" / name for name in (KERAS, OPENVINO_INT8)}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    write_keras(model, folders[KERAS])
    network = to_openvino(model, run / "artefacts" / "saved_model")
    judged = np.asarray(slices.pixels[slices.subset(VALIDATION)])
    write_int8(network, calibration_images(slices, recipe.seed), judged, folders[OPENVINO_INT8])
    explanation = export_head(model, head_of(run))
    return Exported(folders, model.get_layer(NOVELTY_FEATURES).output.shape[-1], explanation)


def head_of(run: Path) -> Path:
    """Returns where a run keeps the head for heat maps, if it has any."""
    return run / "artefacts" / HEAD


def write_keras(model: keras.Model, folder: Path) -> None:
    """Writes `model.json` and `weights.npz`, float16 arrays `0000`, `0001` ... in the order of `model.weights`."""
    (folder / "model.json").write_text(model.to_json())
    arrays = {f"{i:04d}": value.astype(np.float16) for i, value in enumerate(model.get_weights())}
    np.savez(folder / "weights.npz", **arrays)


def to_openvino(model: keras.Model, scratch: Path) -> openvino.Model:
    """Converts to OpenVINO through a TensorFlow SavedModel in `scratch`: uint8 `[?, 299, 299, 3]` in."""
    classes, features = (model.get_layer(name).output.shape[-1] for name in (LOGITS, NOVELTY_FEATURES))
    if classes == features:
        raise DatasetError(
            f"The network has as many features as labels, {classes}, and its outputs cannot be told apart. Choose an"
            " architecture with more features."
        )
    model.export(str(scratch), format="tf_saved_model", verbose=False)
    network = openvino.convert_model(str(scratch), input=[-1, *model.input_shape[1:]])
    for output in network.outputs:
        # The SavedModel's names carry a call prefix; the shape tells which output it is.
        output.get_tensor().set_names({_output_name(output.partial_shape, classes)})
    return network


def _output_name(shape: openvino.PartialShape, classes: int) -> str:
    if len(shape) == 4:
        return FEATURE_MAP
    return LOGITS if shape[1].get_length() == classes else FEATURES


def calibration_images(slices: Slices, seed: int, count: int = CALIBRATION_IMAGES) -> NDArray[np.uint8]:
    """Returns up to `count` training images `[N, 299, 299, 3]`, one of each of as many near-duplicate groups."""
    return slices.one_of_each_group(TRAIN, count, seed)
