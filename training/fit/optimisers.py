"""The optimisers that a recipe can name, and how the learning rate of a phase moves."""

from collections.abc import Sequence
from typing import Any

import keras

from training.fit.recipe import Phase, Recipe

_SMALLEST_SHARE = 1e-3
"""The plateau schedule stops at this share of the peak."""


def optimiser(recipe: Recipe, phase: Phase, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Returns a fresh optimiser for a phase; biases and normalisation are exempt from weight decay."""
    rate = _cosine(phase, steps_per_epoch) if phase.schedule == "cosine" else phase.peak_learning_rate
    ema: dict[str, Any] = {"use_ema": True, "ema_momentum": recipe.ema} if recipe.ema else {}
    made: keras.optimizers.Optimizer
    if recipe.optimizer == "adamw":
        made = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay, **ema)
    elif recipe.optimizer == "adam":
        made = keras.optimizers.Adam(rate, **ema)
    elif recipe.optimizer == "adamax":
        made = keras.optimizers.Adamax(rate, **ema)
    else:
        made = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay or None, **ema)
    made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return made


def plateau_rate(phase: Phase, scores: Sequence[float]) -> float:
    """Returns the learning rate of the next epoch of a plateau schedule.

    The rate is multiplied by `plateau_factor` whenever `plateau_patience` epochs in a row have not beaten the best
    score. It follows from the history alone, so that a resumed run goes on exactly; Keras's callback forgets.

    Args:
        phase: With `schedule: plateau`.
        scores: Validation scores of the phase's epochs so far.
    """
    rate, best, waited = phase.peak_learning_rate, float("-inf"), 0
    for score in scores:
        if score > best:
            best, waited = score, 0
            continue
        waited += 1
        if waited == phase.plateau_patience:
            rate, waited = rate * phase.plateau_factor, 0
    return max(rate, phase.peak_learning_rate * _SMALLEST_SHARE)


def _cosine(phase: Phase, steps_per_epoch: int) -> keras.optimizers.schedules.LearningRateSchedule:
    total = max(1, phase.epochs * steps_per_epoch)
    warmup = min(phase.warmup_steps, total // 2)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else phase.peak_learning_rate,
        total - warmup,
        warmup_target=phase.peak_learning_rate if warmup else None,
        warmup_steps=warmup,
    )
