"""A run's state after an epoch: weights, optimiser, history. Plain arrays and JSON, written aside and renamed."""

import io
import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from brainmri.errors import DatasetError
from brainmri.model.contract import LABELS, NO_TUMOR, Classes
from training.data.tables import write_atomically
from training.fit.recipe import Recipe

_STATE = "state.npz"
HISTORY = "history.png"
"""The picture of a run's losses and accuracies, in its folder."""


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        recipe_sha256: Of the recipe up to the phase of the last epoch; with other phases up to there none may resume.
        split_sha256: Of the split; another split may not resume.
        manifest_sha256: Of the dataset's manifest.
        code_revision: Git commit that trained.
        keras_backend: Back end that trained.
        keras_version: Keras that trained.
        max_steps: Steps an epoch was cut to; 0 for whole epochs. Another value may not resume.
        epoch: Epochs done, over all phases.
        phase: Number of the phase that the last epoch belonged to.
        best: Best validation score so far in the current phase.
        best_epoch: When it was reached.
        stopped: The current phase ended early.
        adopted: Tag of the bundle whose weights stand for the first phases; empty for a run trained from its start.
        labels: What the network tells apart, in the order of its logits.
        no_tumor: Which of them means that there is no tumour; None if none does.
        history: One row an epoch.
    """

    recipe_sha256: str
    split_sha256: str
    manifest_sha256: str
    code_revision: str
    keras_backend: str
    keras_version: str
    max_steps: int = 0
    epoch: int = 0
    phase: int = 0
    best: float = -1.0
    best_epoch: int = 0
    stopped: bool = False
    adopted: str = ""
    labels: list[str] = field(default_factory=lambda: list(LABELS))
    no_tumor: str | None = NO_TUMOR
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def classes(self) -> Classes:
        """What the network tells apart."""
        return Classes(tuple(self.labels), self.no_tumor)


def save_state(folder: Path, model: keras.Model, progress: Progress) -> None:
    """Saves everything that continuing exactly needs, as one file."""
    arrays = {f"weight{i:04d}": value for i, value in enumerate(model.get_weights())}
    arrays |= {f"optimizer{i:04d}": variable.numpy() for i, variable in enumerate(model.optimizer.variables)}
    _save(folder / _STATE, arrays | {"progress": _as_bytes(progress)})


def save_adopted(folder: Path, progress: Progress) -> None:
    """Saves the progress of phases whose optimiser nobody has: only the next phase can follow."""
    _save(folder / _STATE, {"progress": _as_bytes(progress)})


def load_progress(folder: Path) -> Progress | None:
    """Returns the progress of a saved run, or None where nothing was saved.

    Raises:
        DatasetError: The file is damaged or was written by another version of this code.
    """
    path = folder / _STATE
    if not path.is_file():
        return None
    try:
        # NumPy leaves a damaged file open unless the file is ours to close.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Progress(**json.loads(arrays["progress"].tobytes()))
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} cannot be read ({error}). Train again without --resume.") from error


def require_same(folder: Path, saved: Progress, recipe: Recipe, split_sha256: str) -> None:
    """Refuses a run that another recipe or another split has made.

    Phases that had not begun may be new or changed.

    Raises:
        DatasetError: It has; held-out images might be among those it was trained on.
    """
    for same, what in (
        (saved.recipe_sha256 == recipe.shortened(saved.phase + 1).sha256, "recipe"),
        (saved.split_sha256 == split_sha256, "split"),
    ):
        if not same:
            raise DatasetError(
                f"{folder} was trained with another {what} than the one at hand. Restore that one, or train again"
                " without --resume."
            )


def discard(folder: Path) -> None:
    """Removes what an earlier run left in `folder`, so that a fresh one cannot be mistaken for it."""
    for path in (folder / _STATE, *folder.glob("best-*.npz")):
        path.unlink(missing_ok=True)


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


def save_averaged(folder: Path, phase: int, weights: list[NDArray[np.floating]]) -> None:
    """Saves the averaged weights after a phase's last epoch so far; those of earlier phases stay."""
    _save(_best_path(folder, phase), {f"weight{i:04d}": value for i, value in enumerate(weights)})


def load_averaged(folder: Path, phase: int) -> list[NDArray[np.floating]]:
    """Returns the averaged weights after the last epoch of a phase, counted from 0.

    Raises:
        DatasetError: The phase has not been trained.
    """
    path = _best_path(folder, phase)
    if not path.is_file():
        raise DatasetError(f"{path} does not exist. Run `python -m training train` first.")
    return _numbered(path, "weight")


def _as_bytes(progress: Progress) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(asdict(progress)).encode(), dtype=np.uint8)


def _best_path(folder: Path, phase: int) -> Path:
    # Named so since the first release, whose runs kept the best epoch.
    return folder / f"best-{phase + 1}.npz"


def _numbered(path: Path, prefix: str) -> list[NDArray[np.floating]]:
    with np.load(path, allow_pickle=False) as arrays:
        return [arrays[name] for name in sorted(arrays.files) if name.startswith(prefix)]


def _save(path: Path, arrays: dict[str, NDArray[np.generic]]) -> None:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    write_atomically(path, file.getvalue())
