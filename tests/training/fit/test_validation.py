"""Validation figures for a network that always says the same."""

from typing import Any

import numpy as np
import pytest

from training.data.slices import NOTUMOR, Slices
from training.fit.validation import Validation


class Always:
    """Stands for a network that gives every image the same label."""

    def __init__(self, label: int) -> None:
        self._label = label
        self.asked = 0

    def predict_on_batch(self, images: Any) -> Any:
        self.asked += len(images)
        return np.tile(np.eye(4)[self._label], (len(images), 1))


@pytest.mark.parametrize(("label", "found", "normal"), [(NOTUMOR, 0.0, 1.0), (0, 1.0, 0.0)])
def test_figures_are_those_of_the_validation_subsets(slices: Slices, label: int, found: float, normal: float) -> None:
    network = Always(label)
    figures = Validation(slices, batch_size=4).figures(network)
    labels = slices.labels[slices.subset("validation")]
    share = float((labels == label).mean())
    assert network.asked == len(labels) + len(slices.subset("external_validation"))
    assert figures["val_accuracy"] == pytest.approx(share)
    # The one label that is ever said: precision is its share and recall 1; the others count 0.
    assert figures["val_macro_f1"] == pytest.approx(2 * share / (1 + share) / 4)
    assert (figures["val_found"], figures["val_normal"]) == (found, normal)
    assert figures["val_score"] == pytest.approx((figures["val_macro_f1"] + found) / 2)
