"""The losses against numbers worked out by hand, and the heat map against a gradient that TensorFlow takes."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow
from numpy.typing import NDArray

from brainmri.model.explanation import Head
from training.fit.located import LAST_MAP, learning_model
from training.fit.losses import coverage, evidence, label_loss, label_weights, map_loss
from training.fit.model import LOGITS, build_model, with_features
from training.release.export_head import export_head

LIKELY = np.array([[0.5, 0.1, 0.3, 0.1]], np.float32)
"""Probabilities of glioma, meningioma, notumor and pituitary."""
GLIOMA = np.array([[1, 0, 0, 0]], np.float32)
SOME_TUMOUR = np.array([[1, 1, 0, 1]], np.float32)
LEFT_HALF = np.array([[0, 0, 0.5, 1]], np.float32)
NO_BOX = np.zeros((1, 4), np.float32)


def numbers(tensor: Any) -> NDArray[np.float32]:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def loss(target: NDArray[np.float32], smoothing: float) -> float:
    return float(numbers(label_loss(target, np.log(LIKELY), smoothing))[0])


def test_one_label_costs_its_surprise() -> None:
    assert loss(GLIOMA, 0.0) == pytest.approx(-np.log(0.5), rel=1e-5)


def test_some_tumour_costs_the_surprise_that_it_is_not_notumor() -> None:
    assert loss(SOME_TUMOUR, 0.0) == pytest.approx(-np.log(1 - 0.3), rel=1e-5)


def test_smoothing_spreads_a_share_over_all_labels_of_a_named_tumour() -> None:
    # Nine tenths of 0.693147, and a tenth of 1.625573, the mean of 0.693147, 2.302585, 1.203973 and 2.302585.
    assert loss(GLIOMA, 0.1) == pytest.approx(0.786390, abs=1e-5)
    keras_loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    assert loss(GLIOMA, 0.1) == pytest.approx(float(numbers(keras_loss(GLIOMA, np.log(LIKELY)))), abs=1e-5)


def test_smoothing_leaves_some_tumour_alone() -> None:
    assert loss(SOME_TUMOUR, 0.1) == pytest.approx(-np.log(0.7), rel=1e-5)


def test_some_tumour_is_content_with_any_tumour() -> None:
    certain = np.array([[0.0, 40.0, 0.0, 0.0]], np.float32)
    assert float(numbers(label_loss(SOME_TUMOUR, certain, 0.0))[0]) == pytest.approx(0, abs=1e-5)
    certain = np.array([[0.0, 0.0, 40.0, 0.0]], np.float32)
    assert float(numbers(label_loss(SOME_TUMOUR, certain, 0.0))[0]) == pytest.approx(40 - np.log(3), rel=1e-4)


def test_the_map_of_some_tumour_is_divided_by_the_probabilities_of_the_tumours() -> None:
    logits = np.log(LIKELY)
    np.testing.assert_allclose(numbers(label_weights(GLIOMA, logits)), GLIOMA, atol=1e-6)
    expected = np.array([[5 / 7, 1 / 7, 0, 1 / 7]])
    np.testing.assert_allclose(numbers(label_weights(SOME_TUMOUR, logits)), expected, atol=1e-6)


def test_evidence_of_a_head_worked_out_by_hand() -> None:
    # Two channels, two hidden units; the second unit is off at these means, so only the first passes a gradient.
    feature_map = np.array([[[[2, 0], [4, 2]]]], np.float32)
    pooled = np.array([[3, 1]], np.float32)
    kernel = np.array([[1, -1], [2, 1]], np.float32)
    bias = np.array([0, 1], np.float32)
    last = np.array([[3, 0], [5, 7]], np.float32)
    # Hidden: 3 + 2 = 5 and -3 + 1 + 1 = -1. The first unit adds 3 to one logit and 0 to the other, so 1.5 beyond their
    # mean; the gradient of the first label is 1.5 * (1, 2) = (1.5, 3).
    heat = numbers(evidence(feature_map, pooled, np.array([[1, 0]], np.float32), (kernel, bias, last)))
    np.testing.assert_allclose(heat, [[[3, 12]]])


def test_evidence_is_the_gradient_that_tensorflow_takes() -> None:
    rng = np.random.default_rng(0)
    feature_map = rng.normal(size=(3, 4, 5, 6)).astype(np.float32)
    kernel, bias, last = (rng.normal(size=shape).astype(np.float32) for shape in ((6, 8), (8,), (8, 4)))
    weights = rng.dirichlet(np.ones(4), 3).astype(np.float32)
    grid = tensorflow.constant(feature_map)
    with tensorflow.GradientTape() as tape:
        tape.watch(grid)
        hidden = tensorflow.nn.relu(tensorflow.reduce_mean(grid, axis=(1, 2)) @ kernel + bias)
        logits = hidden @ last
        beyond_mean = logits - tensorflow.reduce_mean(logits, axis=1, keepdims=True)
        weighted = tensorflow.reduce_sum(beyond_mean * weights)
    # Every cell has the same gradient, a twentieth of that of the mean.
    gradient = tape.gradient(weighted, grid).numpy() * 20
    expected = np.maximum((feature_map * gradient).sum(axis=-1), 0)
    ours = numbers(evidence(feature_map, feature_map.mean(axis=(1, 2)), weights, (kernel, bias, last)))
    assert expected.max() > 0
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_a_constant_for_all_logits_changes_no_map() -> None:
    rng = np.random.default_rng(1)
    feature_map = rng.normal(size=(2, 3, 3, 4)).astype(np.float32)
    kernel, bias, last = (rng.normal(size=shape).astype(np.float32) for shape in ((4, 5), (5,), (5, 4)))
    weights, pooled = np.eye(4, dtype=np.float32)[:2], feature_map.mean(axis=(1, 2))
    heat, lowered = (
        numbers(evidence(feature_map, pooled, weights, (kernel, bias, last - shift))) for shift in (0, np.float32(9))
    )
    assert heat.max() > 0
    np.testing.assert_allclose(lowered, heat, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 0.5, 1), [[1, 0], [1, 0]]),
        # Covers half of the upper left cell and all of the upper right one.
        ((0.25, 0, 1, 0.5), [[0.5, 1], [0, 0]]),
        # A box smaller than a cell still has a cell of its own.
        ((0.6, 0.7, 0.7, 0.8), [[0, 0], [0, 1]]),
        ((0, 0, 0, 0), [[0, 0], [0, 0]]),
    ],
)
def test_coverage_is_the_share_of_each_cell_in_the_box(box: tuple[float, ...], expected: list[list[float]]) -> None:
    covered = numbers(coverage(np.array([box], np.float32), 2, 2))
    np.testing.assert_allclose(covered[0], expected, atol=1e-3)


def test_the_map_costs_the_surprise_at_the_share_of_heat_in_the_box() -> None:
    heat = np.array([[[3, 1], [0, 0]]], np.float32)
    assert float(numbers(map_loss(heat, LEFT_HALF))[0]) == pytest.approx(-np.log(3 / 4), abs=1e-3)
    assert float(numbers(map_loss(heat[:, :, ::-1], LEFT_HALF))[0]) == pytest.approx(-np.log(1 / 4), abs=1e-3)


def test_a_picture_without_box_costs_nothing_and_one_without_heat_the_most() -> None:
    heat = np.array([[[3, 1], [0, 0]]], np.float32)
    assert float(numbers(map_loss(heat, NO_BOX))[0]) == 0
    assert float(numbers(map_loss(0 * heat, LEFT_HALF))[0]) == pytest.approx(-np.log(1e-6 / 1e-3), abs=1e-4)


def test_a_batch_costs_its_labels_and_its_maps_and_the_maps_are_those_that_are_served(tmp_path: Any) -> None:
    keras.config.set_image_data_format("channels_last")
    model = build_model("tiny_xception", 4, seed=1)
    images = np.random.default_rng(2).integers(0, 256, (2, 299, 299, 3), dtype=np.uint8)
    target = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32)
    boxes = np.array([[0.1, 0.1, 0.4, 0.5], [0.5, 0.2, 0.9, 0.6]], np.float32)
    learner = learning_model(model, label_smoothing=0.05, localisation=0.5)
    outputs = learner(images, training=False)
    measured = float(numbers(learner.compute_loss(y={"target": target, "box": boxes}, y_pred=outputs)))
    served, head = with_features(model), tmp_path / "head.npz"
    export_head(served, head)
    maps = served.predict_on_batch(images)["feature_map"]
    heat = np.stack(
        [Head.read(head).heat_map(one, label).cells for one, label in zip(maps, ("glioma", "meningioma"), strict=True)]
    )
    assert numbers(outputs[LAST_MAP]).shape[:3] == heat.shape
    expected = numbers(label_loss(target, outputs[LOGITS], 0.05)).mean() + 0.5 * numbers(map_loss(heat, boxes)).mean()
    assert measured == pytest.approx(float(expected), rel=2e-3)
    place = next(metric for metric in learner.metrics if metric.name == "map_loss")
    assert float(numbers(place.result())) == pytest.approx(float(numbers(map_loss(heat, boxes)).mean()), rel=5e-3)
