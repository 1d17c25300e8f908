"""Knowledge distillation: a trained teacher answers the very images, augmented and mixed, that the student learns from.

The loss is that of Hinton 2015 (arXiv:1503.02531); that both see the same view is the advice of Beyer 2022
(arXiv:2106.05237).
"""

import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from brainmri.errors import DatasetError
from brainmri.model.contract import LABELS
from training.fit import checkpoint
from training.fit.batches import Batch, TrainBatches
from training.fit.model import build_model
from training.fit.precision import computing_in
from training.fit.recipe import load_recipe


def load_teacher(run: Path, split_sha256: str) -> keras.Model:
    """Returns the network of a finished run, in the layout and precision that are set.

    Args:
        run: The run's folder, named after its recipe in `training/recipes/`.
        split_sha256: Of the student's split: a teacher of another split may know the student's held-out images.

    Raises:
        DatasetError: There is no such recipe or run, or another recipe or split made the run.
    """
    recipe = load_recipe(run.name)
    progress = checkpoint.load_progress(run)
    if progress is None:
        raise DatasetError(f"{run} holds no teacher. Run `python -m training train {run.name}` first.")
    checkpoint.require_same(run, progress, recipe, split_sha256)
    teacher = build_model(recipe.architecture, recipe.phases[-1].downsample)
    teacher.set_weights(checkpoint.load_best(run, len(recipe.phases) - 1))
    teacher.trainable = False
    return teacher


class TaughtBatches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """Batches of `TrainBatches` whose targets `[B, 8]` are the label's probabilities and the teacher's logits."""

    def __init__(self, batches: TrainBatches, teacher: keras.Model, precision: str) -> None:
        """Prepares what `batches` holds, taught by `teacher` in a recipe's `precision`."""
        super().__init__(workers=batches.workers, use_multiprocessing=False, max_queue_size=batches.max_queue_size)
        self._batches, self._teacher, self._precision = batches, teacher, precision
        self._one_at_a_time = threading.Lock()

    def __len__(self) -> int:
        """Returns batches an epoch."""
        return len(self._batches)

    def __getitem__(self, index: int) -> Batch:
        """Returns batch `index` of the current epoch."""
        images, targets, weights = self._batches[index]
        with self._one_at_a_time, computing_in(self._precision):
            logits = np.asarray(self._teacher.predict_on_batch(images), np.float32)
        return images, np.concatenate([targets, logits], axis=1), weights

    def on_epoch_end(self) -> None:
        """Moves on to the next epoch's draw."""
        self._batches.on_epoch_end()


class DistillationLoss(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """(1 - weight) of the cross entropy with the labels, weight of the divergence from the teacher.

    The divergence is Kullback-Leibler's at the temperature, times its square, so that its gradient keeps its size.
    Targets `[B, 4]`, those of validation, have no teacher: their loss is the cross entropy alone.
    """

    def __init__(self, weight: float, temperature: float, label_smoothing: float) -> None:
        """Takes the share of the teacher, the temperature and the smoothing of the labels."""
        super().__init__(name="distillation")
        self._weight, self._temperature, self._label_smoothing = weight, temperature, label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss `[B]` of the student's logits `[B, 4]`."""
        hard = keras.losses.categorical_crossentropy(
            labels_of(y_true), y_pred, from_logits=True, label_smoothing=self._label_smoothing
        )
        if y_true.shape[-1] == len(LABELS):
            return hard
        theirs = keras.ops.log_softmax(y_true[:, len(LABELS) :] / self._temperature)
        ours = keras.ops.log_softmax(y_pred / self._temperature)
        divergence = keras.ops.sum(keras.ops.exp(theirs) * (theirs - ours), axis=-1) * self._temperature**2
        return (1 - self._weight) * hard + self._weight * divergence


def labels_of(targets: Any) -> Any:
    """Returns the labels' part `[B, 4]` of targets with or without a teacher."""
    return targets[:, : len(LABELS)]


def accuracy() -> keras.metrics.Metric:
    """Returns the accuracy against the labels, whatever the teacher says."""
    return keras.metrics.MeanMetricWrapper(_agrees, name="accuracy")


def _agrees(targets: Any, logits: Any) -> NDArray[np.float32]:
    agreement: NDArray[np.float32] = keras.metrics.categorical_accuracy(labels_of(targets), logits)
    return agreement
