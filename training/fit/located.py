"""The network while it learns: it also gives its last feature map, so that the loss can ask where it looks."""

from typing import Any

import keras

from training.fit.losses import evidence, label_loss, label_weights, map_loss
from training.fit.model import FEATURES, HIDDEN, LOGITS

LAST_MAP = "last_map"


class LearningModel(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A classifier with a loss over possible labels and, where boxes are known, over the place of its evidence.

    Outputs are {"logits": `[B, C]`, "last_map": `[B, H, W, K]`}; targets {"target": `[B, C]`, "box": `[B, 4]`}.
    """

    def __init__(self, *args: Any, label_smoothing: float = 0.0, localisation: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._label_smoothing, self._localisation = label_smoothing, localisation
        self._place = keras.metrics.Mean(name="map_loss")

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Returns what is averaged over an epoch."""
        return [*super().metrics, self._place]

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Returns the mean loss of a batch."""
        del x, sample_weight, training
        ops = keras.ops
        logits = ops.cast(y_pred[LOGITS], "float32")
        loss = ops.mean(label_loss(y["target"], logits, self._label_smoothing))
        if self._localisation:
            heat = self._heat(ops.cast(y_pred[LAST_MAP], "float32"), y["target"], logits)
            place = ops.mean(map_loss(heat, y["box"]))
            self._place.update_state(place)
            loss = loss + self._localisation * place
        return loss

    def _heat(self, feature_map: Any, target: Any, logits: Any) -> Any:
        if keras.config.image_data_format() == "channels_first":
            feature_map = keras.ops.transpose(feature_map, (0, 2, 3, 1))
        hidden, last = self.get_layer(HIDDEN), self.get_layer(LOGITS)
        pooled = keras.ops.mean(feature_map, axis=(1, 2))
        weights = label_weights(target, logits)
        return evidence(feature_map, pooled, weights, (hidden.kernel, hidden.bias, last.kernel))


def learning_model(model: keras.Model, label_smoothing: float, localisation: float) -> LearningModel:
    """Returns `model` for training; layers and weights are shared."""
    outputs = {LOGITS: model.output, LAST_MAP: model.get_layer(FEATURES).input}
    return LearningModel(
        model.input, outputs, label_smoothing=label_smoothing, localisation=localisation, name=model.name
    )
