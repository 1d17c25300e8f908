import threading
from pathlib import Path

import numpy as np
import pytest

from brainmri.errors import InvalidBundle
from brainmri.model.bundle import Bundle, write_bundle
from brainmri.model.contract import Contract
from brainmri.model.options import ModelOptions
from brainmri.model.runtimes.open import open_runtime
from brainmri.model.runtimes.protocol import RuntimeInfo
from tests.tiny import BIAS, WEIGHTS, contract_parts

onnx = pytest.importorskip("onnx", reason="needs the dependency group training")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")


def write_onnx_bundle(folder: Path, classes: int = 4) -> Bundle:
    """The network of `tests.tiny` in ONNX: same weights, same answers."""
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415 -- after importorskip

    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 299, 299, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 3])
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["features"], keepdims=0),
        helper.make_node("Gemm", ["features", "weights", "bias"], ["logits"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
        numpy_helper.from_array(WEIGHTS[:, :classes].copy(), "weights"),
        numpy_helper.from_array(BIAS[:classes].copy(), "bias"),
    ]
    graph = helper.make_graph(nodes, "mean_colour", [image], [features, logits], constants)
    source = folder / "onnx"
    source.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, source / "model.onnx")
    contract = Contract.from_parts(**contract_parts())
    return write_bundle(folder / "bundle", contract, {"onnx-f32": source}, {}, "")


def test_onnx_answers_a_batch_of_any_size(tmp_path: Path) -> None:
    runtime = open_runtime(write_onnx_bundle(tmp_path))
    assert runtime.info == RuntimeInfo("onnx-f32", "f32", 1, version=onnxruntime.__version__)
    for count in (1, 3):
        images = np.zeros((count, 299, 299, 3), np.uint8)
        images[..., 0] = 51 * np.arange(count)[:, None, None]
        output = runtime.infer(images)
        features = np.array([[51 * i, 0, 0] for i in range(count)], np.float32)
        np.testing.assert_allclose(output.features, features, rtol=1e-3)
        np.testing.assert_allclose(output.logits, features @ WEIGHTS + BIAS, rtol=1e-3)
        assert output.logits.dtype == output.features.dtype == np.float32


def test_threads_do_not_mix_their_answers(tmp_path: Path) -> None:
    runtime = open_runtime(write_onnx_bundle(tmp_path), ModelOptions(threads=2, streams=2))
    seen: dict[int, set[int]] = {}

    def ask(value: int) -> None:
        image = np.full((1, 299, 299, 3), value, np.uint8)
        seen[value] = {round(float(runtime.infer(image).features[0, 0])) for _ in range(20)}

    threads = [threading.Thread(target=ask, args=(value,)) for value in (10, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {10: {10}, 200: {200}}


def test_a_network_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundle, match=r"lacks outputs of shape \[B, n\]: {'logits': 4}"):
        open_runtime(write_onnx_bundle(tmp_path, classes=3))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    bundle = write_onnx_bundle(tmp_path)
    path = bundle.folder / "onnx-f32" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InvalidBundle, match="ONNX Runtime cannot load onnx-f32"):
        open_runtime(bundle)
