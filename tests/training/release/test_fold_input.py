from pathlib import Path

import keras
import numpy as np
import openvino
import pytest
from numpy.typing import NDArray

from training.data.slices import Slices
from training.fit.model import LOGITS, NOVELTY_FEATURES, build_model, with_features
from training.release.export import to_openvino
from training.release.export_int8 import write_int8
from training.release.fold_input import fold_input

pytestmark = pytest.mark.slow


def network(architecture: str, downsample: int, scratch: Path) -> openvino.Model:
    keras.config.set_image_data_format("channels_last")
    return to_openvino(with_features(build_model(architecture, downsample, seed=1)), scratch)


def kinds(model: openvino.Model) -> list[str]:
    return [node.get_type_name() for node in model.get_ordered_ops() if node.get_type_name() != "Constant"]


def logits(model: openvino.Model, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled(images)["logits"])


@pytest.mark.parametrize("downsample", [1, 2, 3])
def test_the_folded_network_answers_the_same(slices: Slices, tmp_path: Path, downsample: int) -> None:
    model = network("tiny_xception", downsample, tmp_path)
    images = np.asarray(slices.pixels[:6])
    before = logits(model, images)
    assert fold_input(model)
    np.testing.assert_allclose(logits(model, images), before, atol=1e-5 * np.abs(before).max())
    assert kinds(model)[:4] == ["Parameter", "Convert", "Transpose", "Convolution"]
    assert "AvgPool" not in kinds(model)


def test_a_network_that_pads_its_input_stays_as_it_is(tmp_path: Path) -> None:
    inputs = keras.Input((299, 299, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = keras.layers.GlobalAveragePooling2D(name=LOGITS)(keras.layers.Conv2D(4, 3, strides=2, padding="same")(x))
    model = keras.Model(inputs, {"logits": x, "features": keras.layers.Dense(8, name=NOVELTY_FEATURES)(x)})
    converted = to_openvino(model, tmp_path)
    before = kinds(converted)
    assert not fold_input(converted)
    assert kinds(converted) == before


def test_int8_reads_every_grey_level_of_the_input(slices: Slices, tmp_path: Path) -> None:
    images = np.asarray(slices.pixels[:8]) // 2
    written = write_int8(network("tiny_xception", 2, tmp_path / "saved"), images, images, tmp_path)
    first = next(node for node in written.get_ordered_ops() if node.get_type_name() == "FakeQuantize")
    limits = [first.input_value(i).get_node().get_data().item() for i in range(1, 5)]
    assert limits == [0, 255, 0, 255]
    assert first.get_attributes()["levels"] == 256
