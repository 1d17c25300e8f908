"""A run's state after an epoch: weights, optimiser, history. Plain arrays and JSON, written aside and renamed."""

import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from brainmri.errors import DatasetError
from training.tables import write_atomically

_STATE, _BEST = "state.npz", "best.npz"


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        recipe_sha256: Of the recipe's content; another recipe may not resume.
        split_sha256: Of the split; another split may not resume.
        epoch: Epochs done, over all phases.
        phase: Number of the phase that the last epoch belonged to.
        best: Best group-weighted validation accuracy so far in the current phase.
        best_epoch: When it was reached.
        stopped: The current phase ended early.
        history: One row an epoch.
    """

    recipe_sha256: str
    split_sha256: str
    epoch: int = 0
    phase: int = 0
    best: float = -1.0
    best_epoch: int = 0
    stopped: bool = False
    history: list[dict[str, float]] = field(default_factory=list)


def save_state(folder: Path, model: keras.Model, progress: Progress) -> None:
    """Saves everything that continuing exactly needs, as one file."""
    arrays = {f"weight{i:04d}": value for i, value in enumerate(model.get_weights())}
    arrays |= {f"optimizer{i:04d}": variable.numpy() for i, variable in enumerate(model.optimizer.variables)}
    text = json.dumps(asdict(progress)).encode()
    _save(folder / _STATE, arrays | {"progress": np.frombuffer(text, dtype=np.uint8)})


def load_progress(folder: Path) -> Progress | None:
    """Returns the progress of a saved run, or None where nothing was saved."""
    path = folder / _STATE
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return Progress(**json.loads(arrays["progress"].tobytes()))


def restore_weights(folder: Path, model: keras.Model) -> None:
    """Puts the saved weights into `model`."""
    model.set_weights(_numbered(folder / _STATE, "weight"))


def restore_optimizer(folder: Path, model: keras.Model) -> None:
    """Puts the saved optimiser state into the compiled `model`."""
    model.optimizer.build(model.trainable_variables)
    values = _numbered(folder / _STATE, "optimizer")
    if len(values) != len(model.optimizer.variables):
        raise DatasetError(f"{folder} was written with another optimiser. Train again without --resume.")
    for variable, value in zip(model.optimizer.variables, values, strict=True):
        variable.assign(value)


def save_best(folder: Path, weights: list[NDArray[np.floating]]) -> None:
    """Saves the weights of the best epoch."""
    _save(folder / _BEST, {f"weight{i:04d}": value for i, value in enumerate(weights)})


def load_best(folder: Path) -> list[NDArray[np.floating]]:
    """Returns the weights of the best epoch.

    Raises:
        DatasetError: There are none.
    """
    if not (folder / _BEST).is_file():
        raise DatasetError(f"{folder} holds no trained weights. Run `python -m training train` first.")
    return _numbered(folder / _BEST, "weight")


def _numbered(path: Path, prefix: str) -> list[NDArray[np.floating]]:
    with np.load(path, allow_pickle=False) as arrays:
        return [arrays[name] for name in sorted(arrays.files) if name.startswith(prefix)]


def _save(path: Path, arrays: dict[str, NDArray[np.generic]]) -> None:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    write_atomically(path, file.getvalue())
