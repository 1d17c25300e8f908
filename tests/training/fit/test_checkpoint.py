"""What a checkpoint holds on disk: a run that was begun with earlier code goes on with this one."""

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from training.fit import checkpoint
from training.fit.checkpoint import Progress, load_progress, restore_optimizer, restore_weights, save_state

BEFORE_THE_MOVE: dict[str, Any] = {
    "recipe_sha256": "a" * 64,
    "split_sha256": "b" * 64,
    "manifest_sha256": "c" * 64,
    "code_revision": "b937682~1",
    "keras_backend": "torch",
    "keras_version": "3.11.3",
    "max_steps": 2,
    "epoch": 1,
    "phase": 0,
    "best": 0.5,
    "best_epoch": 1,
    "stopped": False,
    "adopted": "",
    "history": [{"epoch": 1, "loss": 1.5}],
}
"""What `training/checkpoint.py` wrote before it became `training/fit/checkpoint.py`."""
FOUR_LABELS: dict[str, Any] = {"labels": ["glioma", "meningioma", "notumor", "pituitary"], "no_tumor": "notumor"}
"""What every run told apart before datasets could name labels of their own."""


class Variable:
    """One variable of an optimiser, as Keras has them."""

    def __init__(self, value: float) -> None:
        self.value = np.full(3, value, np.float32)

    def numpy(self) -> np.ndarray[Any, Any]:
        return self.value

    def assign(self, value: np.ndarray[Any, Any]) -> None:
        self.value = value


class Model:
    """As much of a Keras model as a checkpoint sees."""

    def __init__(self, value: float) -> None:
        self.weights = [np.full((2, 2), value, np.float32), np.full(1, -value, np.float32)]
        self.trainable_variables: list[Variable] = []
        self.optimizer = SimpleNamespace(variables=[Variable(value), Variable(2 * value)], build=lambda _: None)

    def get_weights(self) -> list[np.ndarray[Any, Any]]:
        return self.weights

    def set_weights(self, weights: list[np.ndarray[Any, Any]]) -> None:
        self.weights = weights


def test_a_checkpoint_is_numbers_and_names_no_module(tmp_path: Path) -> None:
    save_state(tmp_path, Model(1.0), Progress(**BEFORE_THE_MOVE))
    (path,) = tmp_path.iterdir()
    with np.load(path, allow_pickle=False) as arrays:
        kinds = {name: arrays[name].dtype for name in arrays.files}
        progress = arrays["progress"].tobytes()
    assert set(map(str, kinds.values())) == {"float32", "uint8"}
    assert sorted(kinds) == ["optimizer0000", "optimizer0001", "progress", "weight0000", "weight0001"]
    assert json.loads(progress) == BEFORE_THE_MOVE | FOUR_LABELS
    assert checkpoint.__name__.encode() not in path.read_bytes()


def test_a_run_that_was_begun_before_the_modules_moved_goes_on(tmp_path: Path) -> None:
    begun = Model(1.0)
    arrays = {f"weight{number:04d}": value for number, value in enumerate(begun.get_weights())}
    arrays |= {f"optimizer{number:04d}": one.numpy() for number, one in enumerate(begun.optimizer.variables)}
    text = np.frombuffer(json.dumps(BEFORE_THE_MOVE).encode(), np.uint8)
    np.savez(tmp_path / "state.npz", **{"progress": text, **arrays})  # type: ignore[arg-type]
    progress = load_progress(tmp_path)
    assert progress is not None
    assert asdict(progress) == BEFORE_THE_MOVE | FOUR_LABELS
    continued = Model(7.0)
    restore_weights(tmp_path, continued)
    restore_optimizer(tmp_path, continued)
    for restored, saved in zip(continued.weights, begun.weights, strict=True):
        assert np.array_equal(restored, saved)
    for restored, saved in zip(continued.optimizer.variables, begun.optimizer.variables, strict=True):
        assert np.array_equal(restored.numpy(), saved.numpy())
