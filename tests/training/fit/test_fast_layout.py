"""The layout that torch trains in gives what the serving layout gives. Runs Keras on torch, in a process of its own."""

import pytest

from tests.training.on_torch import assert_prints_on_torch, needs_torch

pytestmark = pytest.mark.slow

COMPARE = """
import keras, numpy as np
from training.fit.model import BODY, build_model, use_fast_layout, use_serving_layout

images = np.random.default_rng(1).integers(0, 256, (4, 299, 299, 3)).astype(np.uint8)
targets = np.eye(4, dtype=np.float32)
use_serving_layout()
slow = build_model("{architecture}", 4, seed=3)
use_fast_layout()
fast = build_model("{architecture}", 4, seed=4)
fast.set_weights(slow.get_weights())
assert any("Fused" in type(layer).__name__ for layer in fast.get_layer(BODY).layers)
assert [w.shape for w in fast.weights] == [w.shape for w in slow.weights]
gap = lambda: float(np.abs(fast.predict_on_batch(images) - slow.predict_on_batch(images)).max())
assert gap() < 1e-4, gap()
for model in (fast, slow):
    for name in ("dropout_features", "dropout_hidden"):
        model.get_layer(name).rate = 0.0
    model.compile(optimizer=keras.optimizers.SGD(1e-3), loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    model.train_on_batch(images, targets)
for one, other in zip(fast.get_weights(), slow.get_weights(), strict=True):
    # The moving variance differs by n / (n - 1).
    assert np.allclose(one, other, rtol=0.05, atol=2e-3), np.abs(one - other).max()
print("same")
"""


@needs_torch
@pytest.mark.parametrize("architecture", ["tiny_xception", "xception"])
def test_channels_first_with_fused_normalisation_computes_the_same(architecture: str) -> None:
    assert_prints_on_torch(COMPARE.replace("{architecture}", architecture), "same", timeout_s=250)
