from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from brainmri.errors import HeatMapUnavailable, InvalidBundle, MalformedRequest
from brainmri.model.bundle import Bundle, load_bundle
from brainmri.model.explanation import Head, HeatMap, enlarge, write_head
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Predictor
from tests.tiny import CELLS, write_tiny_bundle


def opened(bundle: Bundle) -> Predictor:
    return Predictor.open(bundle, ModelOptions(runtime="openvino"))


def red_corner() -> NDArray[Any]:
    """Black but for a red square of 2 by 3 cells at the upper left, 255 x 6 / 169 red on the mean."""
    image = np.zeros((1, 299, 299, 3), np.uint8)
    image[0, :46, :69, 0] = 255
    return image


def test_the_map_is_the_gradient_of_the_label_times_the_cells() -> None:
    # Two hidden units on one row of two cells; the second unit's mean is negative, so it is not active.
    feature_map = np.array([[[3.0, -8.0], [1.0, 4.0]]], np.float32)
    kernel = np.array([[0.5, -1, 0, 0], [10, 10, 0, 0]], np.float32)
    head = Head(np.array([1, 1], np.float32), kernel)
    assert head.heat_map(feature_map, "glioma").cells.tolist() == [[1.0, 0.0]]  # 0.5 x (3 - 1, 1 - 1)
    assert head.heat_map(feature_map, "meningioma").cells.tolist() == [[0.0, 0.0]]  # -1 x (2, 0), cut off at 0
    assert head.heat_map(feature_map, "notumor").label == "notumor"


def test_the_mean_of_an_uncut_map_is_the_logit_less_its_biases() -> None:
    rng = np.random.default_rng(0)
    hidden, kernel = rng.normal(size=(4, 5, 7)).astype(np.float32), rng.random((7, 4)).astype(np.float32)
    head = Head(np.zeros(7, np.float32), kernel)
    # Every cell has the same value, so no cell is negative where the mean is not.
    hidden[:] = hidden.mean(axis=(0, 1))
    logits = np.maximum(hidden.mean(axis=(0, 1)), 0) @ kernel
    assert head.heat_map(hidden, "glioma").cells.mean() == pytest.approx(logits[0], rel=1e-5)


@pytest.fixture
def explaining(tmp_path: Path) -> Bundle:
    return write_tiny_bundle(tmp_path / "explaining", tmp_path, explains=True)


def test_the_network_of_a_bundle_shows_where_the_colour_of_a_label_is(explaining: Bundle) -> None:
    predictor = opened(explaining)
    output = predictor.infer(red_corner())
    heat = predictor.heat_map(output, 0, "glioma")
    expected = np.zeros((CELLS, CELLS))
    expected[:2, :3] = 10  # 255 x 10 / 255
    np.testing.assert_allclose(heat.cells, expected, atol=1e-3)
    # No blue, so no hidden unit speaks for pituitary.
    assert not predictor.heat_map(output, 0, "pituitary").cells.any()


def test_without_a_label_the_most_probable_one_is_explained(explaining: Bundle) -> None:
    predictor = opened(explaining)
    images = np.concatenate([red_corner(), np.full((1, 299, 299, 3), (0, 0, 255), np.uint8)])
    output = predictor.infer(images)
    # The small red square gives 0.36, less than notumor's bias of 1.
    assert [predictor.heat_map(output, row).label for row in (0, 1)] == ["notumor", "pituitary"]


def test_a_model_without_heat_maps_says_so_and_predicts(tmp_path: Path) -> None:
    predictor = opened(write_tiny_bundle(tmp_path / "b", tmp_path))
    output = predictor.infer(red_corner())
    assert output.feature_map is None
    assert predictor.answer(output, 0, {}).label == "notumor"
    with pytest.raises(HeatMapUnavailable, match=r"brain_mri_xception:0\.0\.1 carries no heat map"):
        predictor.heat_map(output, 0)
    with pytest.raises(HeatMapUnavailable):
        predictor.require_heat_maps()


def test_an_unknown_label_is_refused_with_those_that_there_are(explaining: Bundle) -> None:
    with pytest.raises(MalformedRequest, match=r"no label 'gioma'.*glioma, meningioma, notumor, pituitary"):
        opened(explaining).require_heat_maps("gioma")


def test_a_network_without_the_promised_map_is_refused(tmp_path: Path) -> None:
    plain = write_tiny_bundle(tmp_path / "plain", tmp_path)
    explaining = write_tiny_bundle(tmp_path / "b", tmp_path, explains=True)
    contract = plain.contract.model_copy(update={"explanation": explaining.contract.explanation})
    with pytest.raises(InvalidBundle, match=r"feature_map.*13, 13, 3"):
        opened(Bundle(plain.folder, contract))


def test_an_altered_head_is_refused(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "b", tmp_path, explains=True)
    write_head(bundle.folder / "explanation" / "head.npz", np.ones(3, np.float32), np.ones((3, 4), np.float32))
    with pytest.raises(InvalidBundle, match=r"explanation/head.npz in .* was altered"):
        load_bundle(bundle.folder)


@pytest.mark.parametrize(
    ("bias", "kernel", "quoted"),
    [
        (np.zeros(3), np.zeros((3, 3)), "do not fit"),
        (np.zeros(2), np.zeros((3, 4)), "do not fit"),
        (np.full(3, np.inf), np.zeros((3, 4)), "not finite"),
    ],
)
def test_a_head_that_cannot_be_is_refused(
    tmp_path: Path, bias: NDArray[Any], kernel: NDArray[Any], quoted: str
) -> None:
    write_head(tmp_path / "head.npz", bias.astype(np.float32), kernel.astype(np.float32))
    with pytest.raises(InvalidBundle, match=quoted):
        Head.read(tmp_path / "head.npz")


def test_what_is_no_archive_holds_no_head(tmp_path: Path) -> None:
    (tmp_path / "head.npz").write_bytes(b"no archive")
    with pytest.raises(InvalidBundle, match=r"head.npz holds no head"):
        Head.read(tmp_path / "head.npz")


def test_a_map_is_enlarged_bilinearly_between_the_centres_of_its_cells() -> None:
    heat = HeatMap("glioma", np.array([[0, 13], [0, 13]], np.float32)).enlarged()
    assert heat.shape == (299, 299)
    # Centres of the cells at 74.75 and 224.25; of the pixels at x + 0.5.
    assert heat[100, :74].tolist() == [0] * 74
    assert heat[100, 149] == pytest.approx(6.5, abs=0.01)
    assert heat[100, 100] == pytest.approx(13 * (100.5 - 74.75) / 149.5, abs=0.01)
    assert heat[100, 225:].tolist() == [13] * 74
    assert enlarge(np.ones((3, 3), np.float32), 9).tolist() == [[1.0] * 9] * 9
