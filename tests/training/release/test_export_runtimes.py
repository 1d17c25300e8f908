from pathlib import Path

import keras
import numpy as np
import openvino
import pytest
import tensorflow

from brainmri.model.bundle import Bundle, write_bundle
from brainmri.model.contract import LABELS, Contract, Measurement
from brainmri.model.explanation import Head
from brainmri.model.options import ModelOptions
from brainmri.model.runtimes.open import open_runtime
from brainmri.model.runtimes.protocol import Output
from brainmri.settings import RuntimeChoice
from tests.tiny import contract_parts
from training.data.slices import Slices
from training.fit.model import FEATURES, build_model, with_features
from training.release import export_int8
from training.release.export import KERAS, to_openvino, write_keras
from training.release.export_figures import shortfalls, table
from training.release.export_head import export_head
from training.release.export_litert import write_litert
from training.release.export_onnx import MODEL, write_onnx, write_onnx_int8
from training.release.export_runtimes import reference_network
from training.release.export_speed import measure_speed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # TensorFlow 2.21 names LiteRT as the place where its converter's interpreter is to move.
    pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated"),
    # tf2onnx 1.17 on NumPy 2.4.
    pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning"),
]


@pytest.fixture(scope="module")
def exported(slices: Slices, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tiny network with every artefact."""
    folder = tmp_path_factory.mktemp("exports")
    names = (
        KERAS,
        "openvino-f32",
        "openvino-int8",
        "onnx-f32",
        "onnx-int8",
        "litert-f32",
        "litert-dynamic",
        "litert-int8",
    )
    folders = {name: folder / name for name in names}
    for one in folders.values():
        one.mkdir()
    keras.config.set_image_data_format("channels_last")
    network = with_features(build_model("tiny_xception", downsample=4, seed=1))
    images = np.asarray(slices.pixels[:16])
    write_keras(network, folders[KERAS])
    head = folder / "head.npz"
    exported = export_head(network, head)
    assert exported is not None
    explanation = exported.model_dump()
    contract = Contract.from_parts(**contract_parts(schema_version=2, feature_size=16, explanation=explanation))
    network = reference_network(write_bundle(folder / "plain", contract, {KERAS: folders[KERAS]}, {}, "", head=head))
    converted = to_openvino(network, folder / "saved")
    openvino.save_model(converted, folders["openvino-f32"] / "model.xml")
    export_int8.write_int8(converted, images, images, folders["openvino-int8"])
    write_onnx(network, folders["onnx-f32"])
    write_onnx_int8(folders["onnx-f32"] / MODEL, images, folders["onnx-int8"])
    write_litert(network, "f32", images, folders["litert-f32"])
    write_litert(network, "dynamic", images, folders["litert-dynamic"])
    write_litert(network, "int8", images, folders["litert-int8"])
    return write_bundle(folder / "bundle", contract, folders, {}, "", head=head)


def answer(bundle: Bundle, choice: RuntimeChoice, slices: Slices) -> Output:
    return open_runtime(bundle, ModelOptions(runtime=choice)).infer(np.asarray(slices.pixels[:5]))


@pytest.mark.parametrize("choice", ["openvino-f32", "onnx-f32", "litert-f32"])
def test_a_float_artefact_gives_the_references_numbers(exported: Bundle, slices: Slices, choice: RuntimeChoice) -> None:
    ours, reference = answer(exported, choice, slices), answer(exported, "tensorflow", slices)
    # Weights were rounded to float16 for the reference, and are not rounded again.
    np.testing.assert_allclose(ours.logits, reference.logits, atol=2e-3)
    np.testing.assert_allclose(ours.features, reference.features, atol=2e-3)
    assert ours.feature_map is not None
    assert reference.feature_map is not None
    np.testing.assert_allclose(ours.feature_map, reference.feature_map, atol=2e-3)


@pytest.mark.parametrize("label", LABELS)
def test_heat_maps_are_grad_cam_as_tensorflow_differentiates_it(slices: Slices, tmp_path: Path, label: str) -> None:
    model = build_model("tiny_xception", downsample=4, seed=1)
    export_head(with_features(model), tmp_path / "head.npz")
    images, index = np.asarray(slices.pixels[:2]), LABELS.index(label)
    to_map = keras.Model(model.input, model.get_layer(FEATURES).input)
    after = model.layers[model.layers.index(model.get_layer(FEATURES)) :]
    with tensorflow.GradientTape() as tape:
        grid = tensorflow.convert_to_tensor(to_map(images, training=False))
        tape.watch(grid)
        x = grid
        for layer in after:
            x = layer(x, training=False)
        evidence = x[:, index] - tensorflow.reduce_mean(x, axis=1)
    gradient = tape.gradient(evidence, grid)
    # The gradient is the same in every cell, that of the mean: a cell's share of it times their number.
    cells = grid.shape[1] * grid.shape[2]
    expected = np.maximum((grid.numpy() * gradient.numpy() * cells).sum(axis=-1), 0)
    served = with_features(model).predict_on_batch(images)["feature_map"]
    head = Head.read(tmp_path / "head.npz")
    ours = np.stack([head.heat_map(one, label).cells for one in served])
    np.testing.assert_allclose(ours, expected, atol=1e-5 * max(float(expected.max()), 1e-3))


@pytest.mark.parametrize("choice", ["openvino-int8", "onnx-int8", "litert-int8", "litert-dynamic"])
def test_a_quantised_artefact_stays_near_and_is_smaller(
    exported: Bundle, slices: Slices, choice: RuntimeChoice
) -> None:
    ours, reference = answer(exported, choice, slices), answer(exported, "tensorflow", slices)
    largest = float(np.abs(reference.logits).max())
    np.testing.assert_allclose(ours.logits, reference.logits, atol=0.15 * largest)
    assert ours.feature_map is not None
    assert reference.feature_map is not None
    assert ours.feature_map.shape == (5, 18, 18, 128)
    # With these random weights: 0.970 for OpenVINO's int8, 0.999 for ONNX Runtime's and LiteRT's, 1.000 for dynamic.
    assert np.corrcoef(ours.feature_map.ravel(), reference.feature_map.ravel())[0, 1] > 0.95
    # Other numbers than the float file's: it was quantised.
    assert np.abs(ours.logits - reference.logits).max() > 1e-5


@pytest.mark.parametrize(("most_flips", "controlled"), [(1.0, []), (-1.0, ["control"])])
def test_accuracy_control_begins_when_too_many_labels_differ(
    exported: Bundle,
    slices: Slices,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    most_flips: float,
    controlled: list[str],
) -> None:
    called: list[str] = []

    def control(network: openvino.Model, *_: object) -> openvino.Model:
        called.append("control")
        return network

    monkeypatch.setattr(export_int8, "_quantise_with_control", control)
    monkeypatch.setattr(export_int8, "CONTROL_FROM", most_flips)
    network = openvino.Core().read_model(exported.folder / "openvino-f32" / "model.xml")
    images = np.asarray(slices.pixels[:6])
    export_int8.write_int8(network, images, images, tmp_path)
    assert called == controlled
    assert (tmp_path / "model.bin").is_file()


def test_accuracy_control_keeps_the_labels(exported: Bundle, slices: Slices, tmp_path: Path) -> None:
    network = openvino.Core().read_model(exported.folder / "openvino-f32" / "model.xml")
    images = np.asarray(slices.pixels[:12])
    wanted = export_int8.labels_of(network, images)
    quantised = export_int8._quantise_with_control(network, images, images, wanted)
    assert (export_int8.labels_of(quantised, images) != wanted).mean() <= export_int8.MOST_FLIPS


def test_speed_is_measured_in_a_process_of_its_own(exported: Bundle) -> None:
    speed = measure_speed(exported, "onnx-int8", threads=1)
    assert set(speed.images_per_s) == {"1", "8", "32"}
    assert min(speed.images_per_s.values()) > 0
    assert 30 < speed.resident_mib < 2000


def test_what_differs_too_much_may_not_be_shipped(exported: Bundle) -> None:
    good = Measurement(
        runtime="onnx-int8",
        compared_images=1000,
        label_flips=0.005,
        largest_probability_difference=0.1,
        macro_f1_difference=-0.003,
        novelty_auroc_difference=0.001,
        images_per_s={"1": 1.0, "8": 2.0, "32": 3.0},
        resident_mib=100.0,
        processor="any",
    )
    assert shortfalls(good) == []
    bad = good.model_copy(update={"label_flips": 0.0051, "novelty_auroc_difference": -0.006})
    assert shortfalls(bad) == ["label flips 0.0051 > 0.005", "novelty AUROC 0.0060 > 0.005"]
    text = table(exported.contract, [good, bad])
    assert text.splitlines()[2].endswith("| 1.0, 2.0, 3.0 | 100 | yes |")
    assert "label flips 0.0051" in text.splitlines()[3]
