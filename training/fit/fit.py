"""Runs a recipe: phase after phase, a checkpoint after every epoch, and an exact continuation."""

import csv
import io
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from brainmri.errors import DatasetError
from training.data.arrays import Arrays
from training.data.origin import Origin, code_revision
from training.data.split import TRAIN, VALIDATION
from training.data.tables import write_atomically
from training.fit import checkpoint
from training.fit.batches import EvaluationBatches, TrainBatches
from training.fit.checkpoint import Progress
from training.fit.distillation import DistillationLoss, TaughtBatches, accuracy, load_teacher
from training.fit.model import build_model, set_trainable, use_fast_layout
from training.fit.normalisation import adapt_normalisation
from training.fit.precision import computing_in, dtype_policy
from training.fit.recipe import Phase, Recipe
from training.plots import plot_history

_NORMALISED_ON = 32
"""Training images that give published weights their statistics; all their activations are held at once."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Run:
    """What every phase of a run shares; `progress` moves on with each epoch."""

    recipe: Recipe
    arrays: Arrays
    folder: Path
    progress: Progress
    max_steps: int
    weights_file: str


def fit(
    recipe: Recipe,
    arrays: Arrays,
    origin: Origin,
    folder: Path,
    *,
    resume: bool = False,
    max_steps: int = 0,
    weights_file: str = "",
) -> Progress:
    """Trains `recipe` into `folder` and returns the final progress.

    Args:
        recipe: What to train.
        arrays: The decoded dataset.
        origin: Hashes of the data and of the split that `arrays` follows.
        folder: Receives `state.npz`, a `best-PHASE.npz` for each phase, `history.csv` and `history.png`.
        resume: Continue from `folder`'s last epoch, as if the run had never been interrupted.
        max_steps: Ends every epoch after so many steps, for trials; 0 trains whole epochs.
        weights_file: Of the body without top, on disk already: starts from it instead of what the recipe downloads.

    Raises:
        DatasetError: `resume` with another recipe or split; `weights_file` for a recipe that starts from
            random weights.
    """
    if weights_file and recipe.weights == "none":
        raise DatasetError(f"The recipe {recipe.name!r} starts from random weights: train it without --weights.")
    use_fast_layout()
    fresh = Progress(
        recipe_sha256=recipe.shortened(1).sha256,
        split_sha256=origin.split_sha256,
        manifest_sha256=origin.data_sha256,
        code_revision=code_revision(),
        keras_backend=keras.backend.backend(),
        keras_version=keras.__version__,
        max_steps=max_steps,
    )
    if not resume:
        checkpoint.discard(folder)
    progress = _saved_progress(folder, fresh, recipe) if resume else fresh
    run = _Run(recipe, arrays, folder, progress, max_steps, weights_file)
    done = 0
    for number, phase in enumerate(recipe.phases):
        if number > progress.phase or (number == progress.phase and not progress.stopped):
            _run_phase(run, number, done)
        done += phase.epochs
    return progress


def _saved_progress(folder: Path, fresh: Progress, recipe: Recipe) -> Progress:
    saved = checkpoint.load_progress(folder)
    if saved is None:
        _log.info("nothing to resume in %s: starting afresh", folder)
        return fresh
    checkpoint.require_same(folder, saved, recipe, split_sha256=fresh.split_sha256)
    # The contract tells the code that ended the training.
    saved.code_revision = fresh.code_revision
    if saved.max_steps != fresh.max_steps:
        raise DatasetError(f"{folder} was trained with --max-steps {saved.max_steps}. Resume with the same.")
    return saved


def _run_phase(run: _Run, number: int, first_epoch: int) -> None:
    phase, progress = run.recipe.phases[number], run.progress
    recipe = run.recipe.within(phase)
    last_epoch = first_epoch + phase.epochs
    start = max(progress.epoch, first_epoch)
    if start >= last_epoch:
        return
    progress.recipe_sha256 = run.recipe.shortened(number + 1).sha256
    keras.config.set_dtype_policy(dtype_policy(recipe.precision))
    train = _train_batches(run, phase, start)
    steps = min(len(train), run.max_steps) if run.max_steps else len(train)
    weights = (run.weights_file or recipe.weights) if number == 0 and progress.epoch == 0 else "none"
    model = build_model(recipe.architecture, phase.downsample, weights, recipe.seed)
    if weights != "none":
        adapt_normalisation(model, run.arrays.one_of_each_group(TRAIN, _NORMALISED_ON, recipe.seed))
    set_trainable(model, phase.trainable)
    _compile(model, recipe, phase, steps)
    if start > first_epoch:
        checkpoint.restore_weights(run.folder, model)
        checkpoint.restore_optimizer(run.folder, model)
    elif number > 0:
        model.set_weights(checkpoint.load_best(run.folder, number - 1))
    _log.info("phase %d: epochs %d to %d, %d steps each", number + 1, start + 1, last_epoch, steps)
    callbacks: list[keras.callbacks.Callback] = [_EpochEnd(recipe, number, first_epoch, run.folder, progress)]
    if recipe.ema:
        callbacks.insert(0, keras.callbacks.SwapEMAWeights())
    with computing_in(recipe.precision):
        model.fit(
            train,
            validation_data=EvaluationBatches(run.arrays, run.arrays.subset(VALIDATION), phase.batch_size),
            epochs=last_epoch,
            initial_epoch=start,
            steps_per_epoch=steps if run.max_steps else None,
            shuffle=False,
            callbacks=callbacks,
        )


def _train_batches(run: _Run, phase: Phase, epoch: int) -> TrainBatches | TaughtBatches:
    recipe = run.recipe.within(phase)
    batches = TrainBatches(run.arrays, run.arrays.subset(TRAIN), recipe, phase.batch_size, epoch=epoch)
    if phase.distillation is None:
        return batches
    teacher = load_teacher(run.folder.parent / phase.distillation.teacher, run.progress.split_sha256)
    return TaughtBatches(batches, teacher, recipe.precision)


def _compile(model: keras.Model, recipe: Recipe, phase: Phase, steps_per_epoch: int) -> None:
    model.compile(
        optimizer=_optimizer(recipe, phase, steps_per_epoch),
        loss=_loss(recipe, phase),
        weighted_metrics=[accuracy()],
    )


def _loss(recipe: Recipe, phase: Phase) -> keras.losses.Loss:
    how = phase.distillation
    if how is None:
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing)
    return DistillationLoss(how.weight, how.temperature, recipe.label_smoothing)


def _optimizer(recipe: Recipe, phase: Phase, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    total = max(1, phase.epochs * steps_per_epoch)
    warmup = min(phase.warmup_steps, total // 2)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else phase.peak_learning_rate,
        total - warmup,
        warmup_target=phase.peak_learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    ema: dict[str, Any] = {"use_ema": True, "ema_momentum": recipe.ema} if recipe.ema else {}
    optimizer: keras.optimizers.Optimizer
    if recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay, **ema)
    else:
        optimizer = keras.optimizers.SGD(
            schedule, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay or None, **ema
        )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


class _EpochEnd(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Seeds dropout before an epoch; after it writes history and checkpoint, keeps the best, stops early."""

    def __init__(self, recipe: Recipe, phase: int, first_epoch: int, folder: Path, progress: Progress) -> None:
        super().__init__()
        self._recipe, self._phase, self._first_epoch = recipe, phase, first_epoch
        self._folder, self._progress = folder, progress
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        del logs
        self._started = time.monotonic()
        # Some back ends draw dropout from their global generator, others from the layer's own: both follow the epoch.
        keras.utils.set_random_seed(self._recipe.seed + 1000 * (epoch + 1))
        for offset, name in enumerate(("dropout_features", "dropout_hidden")):
            state = self.model.get_layer(name).seed_generator.state
            state.assign(np.array([self._recipe.seed + offset, 1_000_003 * (epoch + 1)], dtype=state.dtype))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        progress, figures = self._progress, {name: float(value) for name, value in (logs or {}).items()}
        if progress.phase != self._phase or epoch == self._first_epoch:
            progress.phase, progress.best, progress.stopped = self._phase, -1.0, False
        progress.epoch = epoch + 1
        seconds = time.monotonic() - self._started
        progress.history.append({"epoch": epoch + 1, "phase": self._phase + 1, "seconds": round(seconds, 1)} | figures)
        accuracy = _validation_accuracy(progress.history[-1])
        if accuracy > progress.best:
            progress.best, progress.best_epoch = accuracy, epoch + 1
            checkpoint.save_best(self._folder, self._phase, _averaged_weights(self.model))
        patience = self._recipe.patience
        if patience and progress.epoch - progress.best_epoch >= patience:
            progress.stopped = True
            self.model.stop_training = True
        checkpoint.save_state(self._folder, self.model, progress)
        write_history(self._folder, progress)


def _validation_accuracy(figures: dict[str, float]) -> float:
    return figures["val_accuracy"]


def _averaged_weights(model: keras.Model) -> list[NDArray[np.floating]]:
    # Under mixed_float16 Keras wraps the optimiser that keeps the averages.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    averages = getattr(optimizer, "_model_variables_moving_average", None) or []
    by_variable = {id(v): a for v, a in zip(optimizer._trainable_variables, averages, strict=False)}
    return [by_variable.get(id(weight), weight).numpy() for weight in model.weights]


def write_history(folder: Path, progress: Progress) -> None:
    """Writes `history.csv` and `history.png`, one row or point an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(progress.history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(progress.history)
    write_atomically(folder / "history.csv", text.getvalue().encode())
    plot_history(progress.history, folder / checkpoint.HISTORY)
