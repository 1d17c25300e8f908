import keras
import numpy as np
import pytest

from training.data.slices import Slices
from training.fit.model import BODY, build_model
from training.fit.normalisation import adapt_normalisation

pytestmark = pytest.mark.slow


def published() -> keras.Model:
    """A network whose normalisation carries the statistics of something else."""
    model, rng = build_model("tiny_xception", 4, seed=3), np.random.default_rng(0)
    for layer in normalisations(model):
        size = layer.gamma.shape[0]
        layer.set_weights([rng.uniform(0.5, 2, size), rng.normal(size=size), rng.normal(size=size), np.ones(size)])
    return model


def normalisations(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    layers: list[keras.layers.Layer] = model.get_layer(BODY).layers
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


def test_the_network_answers_as_before(slices: Slices) -> None:
    model, others = published(), np.asarray(slices.pixels[:120:20])
    before = model.predict_on_batch(others)
    adapt_normalisation(model, np.asarray(slices.pixels[:8]))
    assert np.ptp(before, axis=0).max() > 0.01
    np.testing.assert_allclose(model.predict_on_batch(others), before, rtol=1e-3, atol=1e-4)


def test_training_on_those_images_begins_with_the_same_network(slices: Slices) -> None:
    images = np.asarray(slices.pixels[:8])

    def features(model: keras.Model, training: bool) -> np.ndarray:
        body = model.get_layer(BODY)
        stem = keras.Model(model.input, model.layers[model.layers.index(body) - 1].output)
        return np.asarray(keras.ops.convert_to_numpy(body(stem.predict_on_batch(images), training=training)))

    model = published()
    before = features(model, training=False)
    adapt_normalisation(model, images)
    np.testing.assert_allclose(features(model, training=True), before, rtol=1e-2, atol=1e-3)
    assert not np.allclose(features(published(), training=True), before, rtol=0.1, atol=0.1)


def test_statistics_are_those_of_the_images(slices: Slices) -> None:
    model, images = published(), np.asarray(slices.pixels[:8])
    adapt_normalisation(model, images)
    body, first = model.get_layer(BODY), normalisations(model)[0]
    stem = keras.Model(model.input, model.layers[model.layers.index(body) - 1].output)
    values = keras.Model(body.input, first.input).predict_on_batch(stem.predict_on_batch(images))
    _, _, mean, variance = first.get_weights()
    np.testing.assert_allclose(mean, values.mean(axis=(0, 1, 2)), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(variance, values.var(axis=(0, 1, 2)), rtol=1e-3)
