"""How many tumours of another source a network finds that has seen none of them: an earlier phase of the same run."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from brainmri.errors import DatasetError
from training.data.slices import NOTUMOR, UNNAMED, Slices
from training.data.sources import SOME_TUMOUR
from training.data.tables import write_atomically
from training.fit.checkpoint import load_averaged
from training.fit.model import build_model, use_serving_layout
from training.fit.recipe import Recipe
from training.release.evaluate import share_interval

UNSEEN = "unseen.json"
_BATCH = 16


def measure_unseen(recipe: Recipe, run: Path, slices: Slices) -> dict[str, Any]:
    """Writes `unseen.json` into a run's folder and returns what it holds; all tumours of unnamed kind are asked.

    The network is that of the last phase before the first one that trains on such tumours, in float32.

    Raises:
        DatasetError: The recipe trains on such tumours from its start, or the phase has not been trained.
    """
    number = last_phase_without(recipe)
    rows = np.flatnonzero(slices.labels == UNNAMED)
    if not len(rows):
        raise DatasetError("The data holds no tumours of unnamed kind.")
    keras.config.set_dtype_policy("float32")
    use_serving_layout()
    model = build_model(**recipe.network(recipe.phases[number]))
    model.set_weights(load_averaged(run, number))
    batches = (np.asarray(slices.pixels[rows[i : i + _BATCH]]) for i in range(0, len(rows), _BATCH))
    found = np.concatenate([model.predict_on_batch(batch).argmax(axis=1) for batch in batches]) != NOTUMOR
    groups = slices.groups[rows]
    figures = {
        "images": len(rows),
        "groups": len(np.unique(groups)),
        "found": float(found.mean()),
        "found_ci95": share_interval(found, groups),
        "network": f"phase {number + 1} of {recipe.name}, {recipe.side(recipe.phases[number])} pixels, float32",
    }
    write_atomically(run / UNSEEN, (json.dumps(figures, indent=2) + "\n").encode())
    return figures


def last_phase_without(recipe: Recipe) -> int:
    """Returns the number of the last phase, from 0, up to which no tumour of unnamed kind was trained on.

    Raises:
        DatasetError: There is none.
    """
    for number, phase in enumerate(recipe.phases):
        if recipe.within(phase).shares.get(SOME_TUMOUR, 0) > 0:
            if number == 0:
                raise DatasetError(f"{recipe.name} trains on tumours of unnamed kind from its start.")
            return number - 1
    return len(recipe.phases) - 1
