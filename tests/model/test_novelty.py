import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainmri.errors import InvalidBundle
from brainmri.model.bundle import Bundle
from brainmri.model.novelty import NoveltyDetector, open_detector
from tests.tiny import write_novelty, write_tiny_bundle


def parameters(**changes: Any) -> dict[str, Any]:
    """Two components out of three features, centred on the features 4, 9, 16."""
    return {
        "mean": np.array([2, 3, 4], np.float32),
        "scale": np.array([1, 1, 2], np.float32),
        "basis": np.eye(3, 2, dtype=np.float16),
        "weights": np.array([0.25, 1], np.float32),
        "rest": 4.0,
        "unit": 2.0,
        **changes,
    }


def test_the_score_of_a_hand_computed_case() -> None:
    # Square roots 6, 3, 5 lie 4, 0, 2 from the centre after scaling: 0.25 * 16 + 4 * 4 = 20.
    features = np.array([[36, 9, 25], [4, 9, 16]], np.float32)
    np.testing.assert_allclose(NoveltyDetector(**parameters()).score(features), [np.sqrt(20) / 2, 0], atol=1e-6)


def test_each_row_is_scored_by_itself() -> None:
    rng = np.random.default_rng(0)
    features = rng.uniform(0, 9, (20, 3)).astype(np.float32)
    detector = NoveltyDetector(**parameters())
    one_by_one = np.concatenate([detector.score(features[i : i + 1]) for i in range(20)])
    np.testing.assert_allclose(detector.score(features), one_by_one, rtol=1e-5)


def test_a_basis_that_rounding_has_bent_is_made_orthonormal() -> None:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(64, 16)))[0]
    mean, scale = np.full(64, 3, np.float32), np.ones(64, np.float32)
    detector = NoveltyDetector(mean, scale, basis.astype(np.float16), np.zeros(16, np.float32), 1.0, 1.0)
    inside = 3 + basis @ rng.normal(0, 0.1, 16)
    # Only what rounding to float16 leaves: without another QR the distance would be 0.01.
    assert detector.score((inside**2)[np.newaxis].astype(np.float32))[0] < 1e-3


def test_negative_features_of_a_quantised_network_count_as_zero() -> None:
    detector = NoveltyDetector(**parameters())
    below, zero = detector.score(np.array([[-0.1, 9, 16], [0, 9, 16]], np.float32))
    assert below == zero == pytest.approx(0.5)


def test_a_feature_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        NoveltyDetector(**parameters()).score(np.array([[np.nan, 1, 1]], np.float32))


@pytest.mark.parametrize(
    "changes",
    [
        {"mean": np.zeros(2, np.float32)},
        {"scale": np.zeros(2, np.float32)},
        {"basis": np.zeros((3, 3), np.float32)},
        {"basis": np.zeros(3, np.float32)},
        {"weights": np.zeros((2, 1), np.float32)},
        {"mean": np.zeros(0, np.float32), "scale": np.zeros(0, np.float32), "basis": np.zeros((0, 2), np.float32)},
    ],
)
def test_parameters_that_do_not_fit_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidBundle, match="do not fit"):
        NoveltyDetector(**parameters(**changes))


@pytest.mark.parametrize(
    "changes", [{"unit": 0.0}, {"rest": -1.0}, {"unit": np.nan}, {"weights": np.array([1, -1], np.float32)}]
)
def test_parameters_that_cannot_be_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidBundle, match="cannot be"):
        NoveltyDetector(**parameters(**changes))


def test_the_file_holds_plain_arrays_only(tmp_path: Path) -> None:
    path = tmp_path / "novelty.npz"
    np.savez(path, **parameters())
    assert NoveltyDetector.read(path).feature_size == 3
    np.savez(path, **parameters(mean=np.array([{"a": 1}], dtype=object)))
    with pytest.raises(InvalidBundle, match="holds no novelty detector"):
        NoveltyDetector.read(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "novelty.npz"
    path.write_bytes(content)
    with pytest.raises(InvalidBundle, match="holds no novelty detector"):
        NoveltyDetector.read(path)


def test_an_array_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "novelty.npz"
    np.savez(path, **{name: value for name, value in parameters().items() if name != "scale"})
    with pytest.raises(InvalidBundle, match="scale"):
        NoveltyDetector.read(path)


def test_a_bundle_opens_the_detector_of_the_runtime_alone(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "b", tmp_path, novelty_threshold=3.0)
    detector = open_detector(bundle, "openvino-f32")
    assert detector is not None
    assert detector.feature_size == 3
    assert open_detector(bundle, "keras-f16") is None


def test_a_bundle_without_detector_opens_none(tiny_bundle: Bundle) -> None:
    assert open_detector(tiny_bundle, "openvino-f32") is None


def test_a_detector_of_another_network_is_refused(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "b", tmp_path, novelty_threshold=3.0, feature_size=5)
    with pytest.raises(InvalidBundle, match="scores 3 features, and the contract says 5"):
        open_detector(bundle, "openvino-f32")


def test_the_tiny_detector_measures_the_distance_from_grey(tmp_path: Path) -> None:
    # What the tests of the interfaces rely on.
    detector = NoveltyDetector.read(write_novelty(tmp_path / "n.npz"))
    grey, white = detector.score(np.array([[100, 100, 100], [225, 225, 225]], np.float32))
    assert grey == pytest.approx(0)
    assert white == pytest.approx(np.sqrt(3 * 25))


def test_one_image_of_the_real_size_is_scored_within_milliseconds() -> None:
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(2048, 512)).astype(np.float16)
    ones = np.ones(2048, np.float32)
    detector = NoveltyDetector(ones, ones, basis, np.ones(512, np.float32), 1.0, 1.0)
    features = rng.uniform(0, 1, (1, 2048)).astype(np.float32)
    detector.score(features)
    start = time.perf_counter()
    for _ in range(20):
        detector.score(features)
    # Measured 0.12 ms; the full matrix takes 1.5 ms and a mistake of complexity far more. Generous for a busy machine.
    assert (time.perf_counter() - start) / 20 < 0.05
