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
from training.data.origin import Origin, code_revision
from training.data.slices import Slices
from training.data.sources import TRAIN
from training.data.tables import write_atomically
from training.fit import checkpoint
from training.fit.balanced import BalancedBatches
from training.fit.checkpoint import Progress
from training.fit.located import learning_model
from training.fit.model import build_model, set_trainable, use_fast_layout
from training.fit.normalisation import adapt_normalisation
from training.fit.optimisers import optimiser, plateau_rate
from training.fit.precision import computing_in, dtype_policy
from training.fit.recipe import Recipe
from training.fit.validation import Validation
from training.plots import plot_history

_NORMALISED_ON = 32
"""Training images that give published weights their statistics; all their activations are held at once."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Run:
    """What every phase of a run shares; `progress` moves on with each epoch."""

    recipe: Recipe
    slices: Slices
    folder: Path
    progress: Progress
    max_steps: int
    weights_file: str


def fit(
    recipe: Recipe,
    slices: Slices,
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
        slices: The decoded sources.
        origin: Hashes of the data and of the split that `slices` follows.
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
        labels=list(slices.classes.labels),
        no_tumor=slices.classes.no_tumor,
    )
    if not resume:
        checkpoint.discard(folder)
    progress = _saved_progress(folder, fresh, recipe) if resume else fresh
    run = _Run(recipe, slices, folder, progress, max_steps, weights_file)
    done = 0
    for number, phase in enumerate(recipe.phases):
        if number > progress.phase or (number == progress.phase and not progress.stopped):
            _run_phase(run, number, done)
        done += phase.length
    return progress


def _saved_progress(folder: Path, fresh: Progress, recipe: Recipe) -> Progress:
    saved = checkpoint.load_progress(folder)
    if saved is None:
        _log.info("nothing to resume in %s: starting afresh", folder)
        return fresh
    checkpoint.require_same(folder, saved, recipe, split_sha256=fresh.split_sha256)
    if saved.classes != fresh.classes:
        raise DatasetError(
            f"{folder} was trained on the labels {', '.join(saved.labels)}. Train anew, without --resume."
        )
    # The contract tells the code that ended the training.
    saved.code_revision = fresh.code_revision
    if saved.max_steps != fresh.max_steps:
        raise DatasetError(f"{folder} was trained with --max-steps {saved.max_steps}. Resume with the same.")
    return saved


def _run_phase(run: _Run, number: int, first_epoch: int) -> None:
    phase, progress = run.recipe.phases[number], run.progress
    recipe = run.recipe.within(phase)
    last_epoch = first_epoch + phase.length
    start = max(progress.epoch, first_epoch)
    if start >= last_epoch:
        return
    progress.recipe_sha256 = run.recipe.shortened(number + 1).sha256
    keras.config.set_dtype_policy(dtype_policy(recipe.precision))
    train = BalancedBatches(run.slices, recipe, phase.batch_size, epoch=start)
    steps = min(len(train), run.max_steps) if run.max_steps else len(train)
    weights = (run.weights_file or recipe.weights) if number == 0 and progress.epoch == 0 else "none"
    classes = len(progress.labels)
    model = build_model(**recipe.network(phase), weights=weights, seed=recipe.seed, classes=classes)
    if weights != "none":
        adapt_normalisation(model, run.slices.one_of_each_group(TRAIN, _NORMALISED_ON, recipe.seed))
    set_trainable(model, phase.trainable)
    learner = learning_model(model, recipe.label_smoothing, recipe.localisation)
    learner.compile(optimizer=optimiser(recipe, phase, steps))
    if start > first_epoch:
        checkpoint.restore_weights(run.folder, learner)
        checkpoint.restore_optimizer(run.folder, learner)
    elif number > 0:
        model.set_weights(checkpoint.load_averaged(run.folder, number - 1))
    _log.info("phase %d: epochs %d to %d, %d steps each", number + 1, start + 1, last_epoch, steps)
    validation = Validation(run.slices, phase.batch_size)
    with computing_in(recipe.precision):
        learner.fit(
            train,
            epochs=last_epoch,
            initial_epoch=start,
            steps_per_epoch=steps if run.max_steps else None,
            shuffle=False,
            verbose=2,
            callbacks=[_EpochEnd(recipe, number, first_epoch, run.folder, progress, model, validation)],
        )


class _EpochEnd(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Seeds dropout before an epoch; after it writes history and checkpoint, stops early."""

    def __init__(
        self,
        recipe: Recipe,
        phase: int,
        first_epoch: int,
        folder: Path,
        progress: Progress,
        network: keras.Model,
        validation: Validation,
    ) -> None:
        super().__init__()
        self._recipe, self._phase, self._first_epoch = recipe, phase, first_epoch
        self._folder, self._progress = folder, progress
        self._network, self._validation = network, validation
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        del logs
        self._started = time.monotonic()
        # Some back ends draw dropout from their global generator, others from the layer's own: both follow the epoch.
        keras.utils.set_random_seed(self._recipe.seed + 1000 * (epoch + 1))
        if (phase := self._recipe.phases[self._phase]).schedule == "plateau":
            past = [row["val_score"] for row in self._progress.history if row["phase"] == self._phase + 1]
            self.model.optimizer.learning_rate = plateau_rate(phase, past)
        dropouts = [layer for layer in self.model.layers if isinstance(layer, keras.layers.Dropout)]
        for offset, layer in enumerate(dropouts):
            state = layer.seed_generator.state
            state.assign(np.array([self._recipe.seed + offset, 1_000_003 * (epoch + 1)], dtype=state.dtype))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        progress, figures = self._progress, {name: float(value) for name, value in (logs or {}).items()}
        if progress.phase != self._phase or epoch == self._first_epoch:
            progress.phase, progress.best, progress.stopped = self._phase, -1.0, False
        progress.epoch = epoch + 1
        averages, current = _averaged_weights(self.model), self.model.get_weights()
        self.model.set_weights(averages)
        figures |= self._validation.figures(self._network)
        averaged = self._network.get_weights()
        self.model.set_weights(current)
        seconds = time.monotonic() - self._started
        progress.history.append({"epoch": epoch + 1, "phase": self._phase + 1, "seconds": round(seconds, 1)} | figures)
        _log.info("%s", progress.history[-1])
        is_best = figures["val_score"] > progress.best
        if is_best:
            progress.best, progress.best_epoch = figures["val_score"], epoch + 1
        # The last as a rule: few validation images make the score jump, and the rate falls to zero.
        if is_best or self._recipe.keep == "last":
            checkpoint.save_averaged(self._folder, self._phase, averaged)
        patience = self._recipe.patience
        if patience and progress.epoch - progress.best_epoch >= patience:
            progress.stopped = True
            self.model.stop_training = True
        checkpoint.save_state(self._folder, self.model, progress)
        write_history(self._folder, progress)


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
