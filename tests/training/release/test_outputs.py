from pathlib import Path

import numpy as np
import pytest

from brainmri.errors import InvalidBundle, RuntimeUnavailable
from brainmri.model.bundle import Bundle
from brainmri.model.contract import Contract
from brainmri.model.runtimes.open import open_runtime
from brainmri.model.runtimes.protocol import Output
from tests.tiny import BIAS, CELLS, write_tiny_bundle
from training.release.outputs import Outputs


def colours(count: int) -> np.ndarray:
    levels = np.random.default_rng(0).integers(0, 256, (count, 1, 1, 3), dtype=np.uint8)
    return np.broadcast_to(levels, (count, 299, 299, 3)).copy()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batch sizes that the network has seen."""
    seen: list[int] = []

    def open_counted(*arguments: object) -> object:
        runtime = open_runtime(*arguments)  # type: ignore[arg-type]
        infer = runtime.infer

        def count(images: np.ndarray) -> Output:
            seen.append(len(images))
            return infer(images)

        monkeypatch.setattr(runtime, "infer", count)
        return runtime

    monkeypatch.setattr("training.release.outputs.open_runtime", open_counted)
    return seen


def test_heat_maps_are_those_of_the_class_asked_for_each_image(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "explaining", tmp_path, explains=True)
    images, rows = colours(20), np.array([19, *range(17)])
    labels = ["pituitary", *["glioma"] * 17]
    maps = Outputs(bundle, threads=1).heat_maps("openvino", images, rows, labels)
    assert maps.shape == (18, CELLS, CELLS)
    # Blue speaks for pituitary, red for glioma, by 10 / 255 of the colour.
    np.testing.assert_allclose(maps[0], float(images[19, 0, 0, 2]) * 10 / 255, atol=1e-3)
    np.testing.assert_allclose(maps[17], float(images[16, 0, 0, 0]) * 10 / 255, atol=1e-3)


def test_a_bundle_without_heat_maps_is_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(InvalidBundle, match="carries no heat maps"):
        Outputs(tiny_bundle, threads=1).heat_maps("openvino", colours(1), np.array([0]), ["glioma"])


def test_outputs_are_those_of_the_network_in_order(tiny_bundle: Bundle) -> None:
    images = colours(20)
    output = Outputs(tiny_bundle, 1).of("openvino", images)
    np.testing.assert_allclose(output.features, images[:, 0, 0, :], rtol=1e-3)
    np.testing.assert_allclose(output.logits[:, 2], np.full(20, BIAS[2]), atol=1e-4)


def test_an_answer_is_remembered_by_network_and_pixels(tiny_bundle: Bundle, tmp_path: Path, counted: list[int]) -> None:
    images, cache = colours(20), tmp_path / "outputs"
    first = Outputs(tiny_bundle, 1, cache).of("openvino", images)
    assert counted == [16, 4]
    again = Outputs(tiny_bundle, 1, cache).of("openvino", images)
    assert counted == [16, 4]
    np.testing.assert_array_equal(again.features, first.features)
    images[3, 0, 0, 0] ^= 1
    Outputs(tiny_bundle, 1, cache).of("openvino", images)
    assert counted == [16, 4, 16, 4]


def test_rows_are_remembered_as_the_pixels_that_they_choose(
    tiny_bundle: Bundle, tmp_path: Path, counted: list[int]
) -> None:
    images, outputs = colours(6), Outputs(tiny_bundle, 1, tmp_path)
    chosen = outputs.of("openvino", images, np.array([4, 1], dtype=np.intp))
    np.testing.assert_allclose(chosen.features, images[[4, 1], 0, 0, :], rtol=1e-3)
    outputs.of("openvino", images[[4, 1]])
    outputs.of("openvino", images, np.array([1, 4], dtype=np.intp))
    assert counted == [2, 2]


def test_a_calibration_does_not_make_another_network(tiny_bundle: Bundle, tmp_path: Path, counted: list[int]) -> None:
    Outputs(tiny_bundle, 1, tmp_path / "outputs").of("openvino", colours(2))
    calibrations = [{"runtime": "openvino-f32", "temperature": 3.0}]
    contract = Contract.from_parts(**tiny_bundle.contract.model_dump() | {"calibrations": calibrations})
    Outputs(Bundle(tiny_bundle.folder, contract), 1, tmp_path / "outputs").of("openvino", colours(2))
    assert counted == [2]


def test_without_a_folder_nothing_is_remembered(tiny_bundle: Bundle, counted: list[int]) -> None:
    outputs = Outputs(tiny_bundle, 1)
    outputs.of("openvino", colours(2))
    outputs.of("openvino", colours(2))
    assert counted == [2, 2]


def test_a_runtime_that_the_bundle_lacks_is_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(RuntimeUnavailable, match="nothing for the runtime 'tensorflow'"):
        Outputs(tiny_bundle, 1).runtime("tensorflow")
