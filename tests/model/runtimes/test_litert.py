import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brainmri.errors import InvalidBundle
from brainmri.model.bundle import Bundle, write_bundle
from brainmri.model.contract import Contract
from brainmri.model.options import ModelOptions
from brainmri.model.runtimes.open import open_runtime
from tests.tiny import BIAS, WEIGHTS, contract_parts

tensorflow = pytest.importorskip("tensorflow", reason="needs the dependency group training")
pytest.importorskip("ai_edge_litert", reason="needs the extra litert")
pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")

WriteBundle = Callable[[int], Bundle]


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> WriteBundle:
    """Writes the network of `tests.tiny` as TFLite: same weights, same answers."""

    def write(classes: int) -> Bundle:
        class Network(tensorflow.Module):  # type: ignore[misc, name-defined]
            @tensorflow.function(input_signature=[tensorflow.TensorSpec((1, 299, 299, 3), tensorflow.uint8)])  # type: ignore[untyped-decorator]
            def __call__(self, image: object) -> dict[str, object]:
                mean = tensorflow.reduce_mean(tensorflow.cast(image, tensorflow.float32), [1, 2])
                return {"logits": mean @ WEIGHTS[:, :classes] + BIAS[:classes], "features": mean}

        folder = tmp_path_factory.mktemp("litert")
        network = Network()
        tensorflow.saved_model.save(network, str(folder / "saved"), network.__call__.get_concrete_function())
        source = folder / "artefact"
        source.mkdir()
        content = tensorflow.lite.TFLiteConverter.from_saved_model(str(folder / "saved")).convert()
        (source / "model.tflite").write_bytes(content)
        contract = Contract.from_parts(**contract_parts())
        return write_bundle(folder / "bundle", contract, {"litert-f32": source}, {}, "")

    return write


@pytest.fixture(scope="module")
def bundle(write: WriteBundle) -> Bundle:
    return write(4)


def test_litert_answers_image_by_image(bundle: Bundle) -> None:
    runtime = open_runtime(bundle, ModelOptions(runtime="litert"))
    assert (runtime.info.name, runtime.info.precision, runtime.info.batch_sizes) == ("litert-f32", "f32", (1,))
    assert runtime.info.version
    for count in (1, 3):
        images = np.zeros((count, 299, 299, 3), np.uint8)
        images[..., 0] = 51 * np.arange(count)[:, None, None]
        output = runtime.infer(images)
        features = np.array([[51 * i, 0, 0] for i in range(count)], np.float32)
        np.testing.assert_allclose(output.features, features, rtol=1e-2)
        np.testing.assert_allclose(output.logits, output.features @ WEIGHTS + BIAS, rtol=1e-3)
        assert output.logits.dtype == output.features.dtype == np.float32


def test_threads_do_not_mix_their_answers(bundle: Bundle) -> None:
    runtime = open_runtime(bundle, ModelOptions(threads=2, streams=2))
    seen: dict[int, set[int]] = {}

    def ask(value: int) -> None:
        image = np.full((1, 299, 299, 3), value, np.uint8)
        seen[value] = {round(float(runtime.infer(image).features[0, 0]) / 10) for _ in range(20)}

    threads = [threading.Thread(target=ask, args=(value,)) for value in (10, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {10: {1}, 200: {20}}


def test_a_network_of_another_shape_is_refused(write: WriteBundle) -> None:
    with pytest.raises(InvalidBundle, match=r"lacks outputs of shape \[B, n\]: {'logits': 4}"):
        open_runtime(write(3))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "artefact"
    source.mkdir()
    (source / "model.tflite").write_bytes(b"not a flatbuffer")
    contract = Contract.from_parts(**contract_parts())
    broken = write_bundle(tmp_path / "bundle", contract, {"litert-f32": source}, {}, "")
    with pytest.raises(InvalidBundle, match="LiteRT cannot load litert-f32"):
        open_runtime(broken)
