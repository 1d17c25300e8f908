import builtins
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray

from brainmri.errors import InvalidBundle, RuntimeUnavailable
from brainmri.imaging import to_tensor
from brainmri.model.bundle import Bundle, load_bundle, write_bundle
from brainmri.model.contract import Contract
from brainmri.model.options import ModelOptions
from brainmri.model.runtimes.open import open_runtime
from brainmri.model.runtimes.protocol import Output, RuntimeInfo
from brainmri.model.runtimes.tensorflow import read_weights
from tests.tiny import BIAS, WEIGHTS, contract_parts, write_openvino, write_tiny_bundle

ROOT = Path(__file__).parents[3]


def test_openvino_answers_a_batch_of_any_size(tiny_bundle: Bundle) -> None:
    runtime = open_runtime(tiny_bundle)
    info = runtime.info
    assert info == RuntimeInfo("openvino-f32", "f32", 1, version=openvino.__version__.partition("-")[0])
    for count in (1, 3):
        images = np.zeros((count, 299, 299, 3), np.uint8)
        images[..., 0] = 51 * np.arange(count)[:, None, None]
        output = runtime.infer(images)
        features = np.array([[51 * i, 0, 0] for i in range(count)], np.float32)
        np.testing.assert_allclose(output.features, features, rtol=1e-5)
        np.testing.assert_allclose(output.logits, features @ WEIGHTS + BIAS, rtol=1e-5)
        assert output.logits.dtype == output.features.dtype == np.float32


@pytest.mark.parametrize("streams", [1, 2])
def test_threads_do_not_mix_their_answers(tiny_bundle: Bundle, streams: int) -> None:
    runtime = open_runtime(tiny_bundle, ModelOptions(threads=2, streams=streams))
    seen: dict[int, set[float]] = {}

    def ask(value: int) -> None:
        image = np.full((1, 299, 299, 3), value, np.uint8)
        seen[value] = {round(float(runtime.infer(image).features[0, 0])) for _ in range(20)}

    threads = [threading.Thread(target=ask, args=(value,)) for value in (10, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {10: {10}, 200: {200}}


def test_streams_side_by_side_answer_as_one_alone_to_the_last_bit() -> None:
    # Bulk scoring promises the same rows whatever ran at the same time.
    bundle = load_bundle(ROOT / "models" / "brain_mri_xception")
    alone = open_runtime(bundle, ModelOptions(threads=2, streams=1))
    shared = open_runtime(bundle, ModelOptions(threads=2, streams=2, full_batch=8))
    # One image in eighty shows a network that rounds otherwise, and each of these batches holds one.
    assert bundle.contract.version == "1.0.0", "another network needs other seeds: compare without _SAME_ROUNDING"
    batches = [np.stack([ellipses(random) for _ in range(8)]) for random in map(np.random.default_rng, (8, 16, 17))]
    expected = [alone.infer(images) for images in batches]
    for images, other in zip(batches, expected, strict=True):
        for size in (1, 2, 3, 8):
            parts = [images[start : start + size] for start in range(0, 8, size)]
            assert_equal(Output.join([shared.infer(part) for part in parts]), other)
    for count in (8, 5, 3, 1):
        with ThreadPoolExecutor(3) as threads:
            outputs = threads.map(shared.infer, [images[:count] for images in batches])
        for output, other in zip(outputs, expected, strict=True):
            assert_equal(output, other.rows(0, count))


def assert_equal(output: Output, other: Output) -> None:
    """Compares to the last bit."""
    np.testing.assert_array_equal(output.logits, other.logits)
    np.testing.assert_array_equal(output.features, other.features)


def ellipses(random: np.random.Generator) -> NDArray[np.uint8]:
    """Returns some ellipses of different light, with noise, as a tensor."""
    rows, columns = np.mgrid[:64, :64]
    light = np.zeros((64, 64))
    for _ in range(random.integers(2, 7)):
        (top, left), (tall, wide) = random.uniform(20, 44, 2), random.uniform(4, 26, 2)
        light[((rows - top) / tall) ** 2 + ((columns - left) / wide) ** 2 < 1] += random.uniform(-40, 120)
    return to_tensor(np.clip(light + random.normal(0, random.uniform(0, 10), (64, 64)), 0, 255).astype(np.uint8))


def test_full_batches_have_a_network_of_their_own_among_streams(tiny_bundle: Bundle) -> None:
    runtime = open_runtime(tiny_bundle, ModelOptions(threads=2, streams=2, full_batch=4))
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 299, 299, 3), np.uint8)
    with ThreadPoolExecutor(3) as threads:
        for output in threads.map(runtime.infer, [images[:4], images[:3], images, images[:1]] * 6):
            np.testing.assert_allclose(output.features[:, 0], range(len(output.features)))


@pytest.mark.parametrize("count", range(1, 6))
def test_a_batch_that_is_alone_is_shared_among_the_streams(tiny_bundle: Bundle, count: int) -> None:
    runtime = open_runtime(tiny_bundle, ModelOptions(threads=2, streams=2, full_batch=4))
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((count, 299, 299, 3), np.uint8)
    np.testing.assert_allclose(runtime.infer(images).features[:, 0], range(count))


def test_a_batch_that_fails_gives_its_streams_back(tiny_bundle: Bundle) -> None:
    runtime = open_runtime(tiny_bundle, ModelOptions(threads=2, streams=2))
    for _ in range(3):
        with pytest.raises(RuntimeError):
            runtime.infer(np.zeros((4, 299, 299, 4), np.uint8))
    np.testing.assert_allclose(runtime.infer(np.full((4, 299, 299, 3), 7, np.uint8)).features, np.full((4, 3), 7.0))


def test_images_that_may_not_be_written_are_taken(tiny_bundle: Bundle) -> None:
    # As they come out of a request's bytes.
    images = np.frombuffer(bytes([51]) * (299 * 299 * 3), np.uint8).reshape(1, 299, 299, 3)
    np.testing.assert_allclose(open_runtime(tiny_bundle).infer(images).features, [[51, 51, 51]], rtol=1e-5)


def test_images_that_are_not_in_one_piece_are_taken(tiny_bundle: Bundle) -> None:
    images = np.zeros((2, 299, 299, 3), np.uint8)
    images[1, ..., 2] = 102
    features = open_runtime(tiny_bundle).infer(images[::-1, :, ::-1]).features
    np.testing.assert_allclose(features, [[0, 0, 102], [0, 0, 0]], rtol=1e-5)


def test_an_answer_is_not_overwritten_by_the_next(tiny_bundle: Bundle) -> None:
    runtime = open_runtime(tiny_bundle)
    first = runtime.infer(np.full((1, 299, 299, 3), 255, np.uint8)).features
    runtime.infer(np.zeros((1, 299, 299, 3), np.uint8))
    np.testing.assert_allclose(first, [[255, 255, 255]], rtol=1e-5)


def test_a_missing_package_names_the_install_command(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_openvino(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "openvino":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_openvino)
    with pytest.raises(RuntimeUnavailable, match="Install it with: uv pip install openvino"):
        open_runtime(tiny_bundle)


def test_openvino_computes_in_bfloat16_when_asked(tiny_bundle: Bundle) -> None:
    runtime = open_runtime(tiny_bundle, ModelOptions(runtime="openvino-bf16"))
    assert (runtime.info.name, runtime.info.precision) == ("openvino-bf16", "bf16")
    features = runtime.infer(np.full((1, 299, 299, 3), 100, np.uint8)).features
    # Eight bits of mantissa where the CPU has bfloat16, all of them elsewhere.
    np.testing.assert_allclose(features, [[100, 100, 100]], rtol=2**-7)


def test_a_network_of_another_shape_is_refused(tmp_path: Path) -> None:
    artefacts = {"openvino-f32": write_openvino(tmp_path / "ir", classes=3)}
    bundle = write_bundle(tmp_path / "b", Contract.from_parts(**contract_parts()), artefacts, {}, "")
    with pytest.raises(InvalidBundle, match=r"lacks outputs of shape \[B, n\]: {'logits': 4}"):
        open_runtime(bundle)


def test_a_wrong_feature_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundle, match=r"\{'features': 2048\}"):
        open_runtime(write_tiny_bundle(tmp_path / "b", tmp_path, feature_size=2048))


def test_weights_are_read_in_order_as_float32(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    np.savez(path, **{"0001": np.float16([3]), "0000": np.float16([[1, 2]])})  # type: ignore[arg-type]
    first, second = read_weights(path)
    np.testing.assert_array_equal(first, [[1, 2]])
    np.testing.assert_array_equal(second, [3])
    assert first.dtype == np.float32


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    np.savez(path, **{"0000": np.array([{"a": 1}], dtype=object)})  # type: ignore[arg-type]
    with pytest.raises(InvalidBundle, match="not a NumPy archive of plain arrays"):
        read_weights(path)


def test_a_gap_in_the_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    np.savez(path, **{"0000": np.zeros(1), "0002": np.zeros(1)})  # type: ignore[arg-type]
    with pytest.raises(InvalidBundle, match="must hold arrays 0000, 0001"):
        read_weights(path)


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    np.savez(path, **{"0000": np.zeros(100)})  # type: ignore[arg-type]
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InvalidBundle, match="not a NumPy archive of plain arrays"):
        read_weights(path)
