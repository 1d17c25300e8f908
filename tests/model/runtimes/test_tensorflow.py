from pathlib import Path

import numpy as np
import pytest

from brainmri.errors import InvalidBundle
from brainmri.model.bundle import Bundle, write_bundle
from brainmri.model.contract import Contract
from brainmri.model.runtimes.open import open_runtime
from brainmri.model.runtimes.protocol import RuntimeInfo
from tests.tiny import BIAS, WEIGHTS, contract_parts

pytest.importorskip("tensorflow", reason="needs the dependency group training")


def write_keras_bundle(folder: Path) -> Bundle:
    """The network of `tests.tiny` in Keras: same weights, same answers."""
    import keras  # noqa: PLC0415 -- serving environments have none

    image = keras.Input((299, 299, 3), dtype="uint8", name="image")
    mean = keras.layers.GlobalAveragePooling2D(name="features")(keras.layers.Rescaling(1.0)(image))
    logits = keras.layers.Dense(4, name="logits")(mean)
    model = keras.Model(image, {"logits": logits, "features": mean})
    source = folder / "keras"
    source.mkdir()
    (source / "model.json").write_text(model.to_json())
    weights = {"0000": WEIGHTS.astype(np.float16), "0001": BIAS.astype(np.float16)}
    np.savez(source / "weights.npz", **weights)  # type: ignore[arg-type]
    contract = Contract.from_parts(**contract_parts())
    return write_bundle(folder / "bundle", contract, {"keras-f16": source}, {}, "")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_keras_bundle(tmp_path)


def test_keras_answers_from_its_artefact_when_there_is_no_other(bundle: Bundle) -> None:
    import keras  # noqa: PLC0415 -- serving environments have none

    runtime = open_runtime(bundle)
    assert runtime.info == RuntimeInfo("keras-f16", "f16", 1, version=keras.__version__)
    images = np.zeros((2, 299, 299, 3), np.uint8)
    images[1, ..., 2] = 200
    output = runtime.infer(images)
    features = np.array([[0, 0, 0], [0, 0, 200]], np.float32)
    np.testing.assert_allclose(output.features, features, rtol=1e-4)
    np.testing.assert_allclose(output.logits, features @ WEIGHTS.astype(np.float16) + BIAS, rtol=1e-3, atol=1e-3)
    assert output.logits.dtype == output.features.dtype == np.float32


def test_weights_of_another_shape_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    weights = bundle.folder / "keras-f16" / "weights.npz"
    np.savez(weights, **{"0000": np.zeros((3, 5), np.float16)})  # type: ignore[arg-type]
    again = write_bundle(tmp_path / "again", bundle.contract, {"keras-f16": weights.parent}, {}, "")
    with pytest.raises(InvalidBundle, match=r"Keras cannot rebuild keras-f16 of brain_mri_xception:0\.0\.1"):
        open_runtime(again)


def test_a_model_that_carries_code_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    import keras  # noqa: PLC0415 -- serving environments have none

    image = keras.Input((299, 299, 3), dtype="uint8")
    model = keras.Model(image, keras.layers.Lambda(lambda x: x, output_shape=(299, 299, 3))(image))
    folder = bundle.folder / "keras-f16"
    (folder / "model.json").write_text(model.to_json())
    again = write_bundle(tmp_path / "again", bundle.contract, {"keras-f16": folder}, {}, "")
    with pytest.raises(InvalidBundle, match="Keras cannot rebuild"):
        open_runtime(again)
