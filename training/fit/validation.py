"""How a network does on validation after an epoch: by person, on another source, without tumour, and where it looks."""

import keras
import numpy as np
from numpy.typing import NDArray

from brainmri.model.contract import RELEASED_CLASSES
from training.data.slices import Slices
from training.data.sources import VALIDATION
from training.data.split import EXTERNAL_VALIDATION
from training.fit.balanced import EvaluationImages
from training.metrics import macro_f1


class Validation:
    """The validation images of a run, and what a network says about them."""

    def __init__(self, slices: Slices, batch_size: int) -> None:
        self._slices, self._batch_size = slices, batch_size
        self._known: NDArray[np.intp] = slices.subset(VALIDATION)
        self._external = slices.subset(EXTERNAL_VALIDATION)

    def figures(self, model: keras.Model) -> dict[str, float]:
        """Returns `val_macro_f1`, `val_accuracy`, `val_found`, `val_normal` and their summary `val_score`.

        With own labels there is no other source to find tumours in: the score is macro-F1.
        """
        labels = self._slices.labels[self._known]
        predicted = self._predict(model, self._known)
        figures = {
            "val_macro_f1": macro_f1(predicted, labels, len(self._slices.classes.labels)),
            "val_accuracy": float((predicted == labels).mean()),
        }
        none = self._slices.no_tumor
        if (labels == none).any():
            figures["val_normal"] = float((predicted[labels == none] == none).mean())
        if self._slices.classes != RELEASED_CLASSES:
            return figures | {"val_score": figures["val_macro_f1"]}
        found = 0.0
        if len(self._external):
            found = float((self._predict(model, self._external) != none).mean())
        return figures | {"val_found": found, "val_score": (figures["val_macro_f1"] + found) / 2}

    def _predict(self, model: keras.Model, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        batches = EvaluationImages(self._slices, rows, self._batch_size)
        outputs = [model.predict_on_batch(batches[number][0]) for number in range(len(batches))]
        return np.asarray(np.concatenate(outputs).argmax(axis=1), dtype=np.intp)
