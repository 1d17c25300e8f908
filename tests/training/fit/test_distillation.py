"""Distillation with tiny networks: what the teacher is shown, what the loss is, and an exact continuation."""

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

from brainmri.errors import DatasetError
from training.data.arrays import Arrays
from training.data.origin import Origin
from training.fit import checkpoint
from training.fit.batches import TrainBatches
from training.fit.distillation import DistillationLoss, TaughtBatches, accuracy, load_teacher
from training.fit.fit import fit
from training.fit.recipe import Recipe

ORIGIN = Origin("a" * 64, "b" * 64)
PHASE = {"epochs": 1, "downsample": 4, "batch_size": 8, "warmup_steps": 1, "peak_learning_rate": 0.01}
TEACHER = {"name": "master", "architecture": "tiny_xception", "ema": 0.5, "seed": 9, "phases": [PHASE]}
TARGETS = np.array([[1, 0, 0, 0], [0, 0.3, 0.7, 0]], np.float32)
STUDENT = np.array([[1.0, -1, 0.5, 0], [0.2, 0.1, 0, -2]], np.float32)
MASTER = np.array([[3.0, -1, 0, 0], [-1, 2, 2, 0]], np.float32)


@pytest.fixture(scope="module")
def runs(arrays: Arrays, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of runs with a trained teacher, whose recipe is known by its name."""
    root = tmp_path_factory.mktemp("runs")
    (root / "recipes").mkdir()
    (root / "recipes" / "master.yaml").write_text(yaml.safe_dump(TEACHER))
    fit(Recipe.model_validate(TEACHER), arrays, ORIGIN, root / "master")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.fit.recipe.RECIPES", root / "recipes")
        yield root


def student(**phase: object) -> Recipe:
    taught = {"distillation": {"teacher": "master", "weight": 0.6, "temperature": 2}, "epochs": 2}
    return Recipe.model_validate(
        {"name": "t", "architecture": "tiny_xception", "ema": 0.9, "phases": [PHASE | taught | phase]}
    )


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


def numbers(tensor: object) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def test_the_loss_is_the_labels_cross_entropy_and_the_divergence_from_the_teacher() -> None:
    smoothed = TARGETS * 0.9 + 0.1 / 4
    hard = -(smoothed * log_softmax(STUDENT)).sum(axis=1)
    theirs, ours = log_softmax(MASTER / 2), log_softmax(STUDENT / 2)
    divergence = (np.exp(theirs) * (theirs - ours)).sum(axis=1)
    loss = DistillationLoss(weight=0.6, temperature=2, label_smoothing=0.1)
    both = numbers(loss.call(np.concatenate([TARGETS, MASTER], axis=1), STUDENT))
    np.testing.assert_allclose(both, 0.4 * hard + 0.6 * 4 * divergence, rtol=1e-5)
    np.testing.assert_allclose(numbers(loss.call(TARGETS, STUDENT)), hard, rtol=1e-5)


def test_who_answers_as_the_teacher_does_diverges_by_nothing() -> None:
    loss = DistillationLoss(weight=1.0, temperature=3, label_smoothing=0)
    np.testing.assert_allclose(numbers(loss.call(np.concatenate([TARGETS, MASTER], axis=1), MASTER)), 0, atol=1e-6)


def test_accuracy_asks_the_labels_and_not_the_teacher() -> None:
    metric = accuracy()
    metric.update_state(np.concatenate([TARGETS, -TARGETS], axis=1), TARGETS)
    assert float(metric.result()) == 1.0


def test_the_teacher_answers_the_images_that_the_student_sees(arrays: Arrays, runs: Path) -> None:
    recipe = student()
    teacher = load_teacher(runs / "master", ORIGIN.split_sha256)
    plain, taught = (TrainBatches(arrays, arrays.subset("train"), recipe, 8, epoch=0) for _ in range(2))
    batches = TaughtBatches(taught, teacher, "float32")
    plain.on_epoch_end()
    batches.on_epoch_end()
    assert len(batches) == len(plain)
    images, targets, weights = plain[1]
    seen, wide, same = batches[1]
    np.testing.assert_array_equal(seen, images)
    np.testing.assert_array_equal(wide[:, :4], targets)
    np.testing.assert_array_equal(same, weights)
    np.testing.assert_allclose(wide[:, 4:], teacher.predict_on_batch(images), rtol=1e-5, atol=1e-6)
    assert np.ptp(wide[:, 4:], axis=0).max() > 0


def test_the_teacher_is_its_run_with_the_best_weights_and_learns_nothing(runs: Path) -> None:
    teacher = load_teacher(runs / "master", ORIGIN.split_sha256)
    assert not teacher.trainable_variables
    for ours, theirs in zip(teacher.get_weights(), checkpoint.load_best(runs / "master", 0), strict=True):
        np.testing.assert_array_equal(ours, theirs)


class PowerCut(Exception):
    """Stops a run right after a checkpoint."""


def test_a_distilled_run_cut_off_and_resumed_ends_with_the_same_weights(
    arrays: Arrays, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(student(), arrays, ORIGIN, runs / "whole")
    save = checkpoint.save_state

    def save_and_stop(folder: Path, model: keras.Model, progress: checkpoint.Progress) -> None:
        save(folder, model, progress)
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr("training.fit.checkpoint.save_state", save_and_stop)
        with pytest.raises(PowerCut):
            fit(student(), arrays, ORIGIN, runs / "cut")
    assert fit(student(), arrays, ORIGIN, runs / "cut", resume=True).epoch == 2
    with np.load(runs / "cut" / "state.npz") as resumed, np.load(runs / "whole" / "state.npz") as expected:
        assert len(resumed.files) > 30
        for name in set(resumed.files) - {"progress"}:
            assert np.array_equal(resumed[name], expected[name]), name


def test_a_teacher_changes_what_the_student_becomes(arrays: Arrays, runs: Path) -> None:
    fit(student(epochs=1), arrays, ORIGIN, runs / "taught")
    fit(student(epochs=1, distillation=None), arrays, ORIGIN, runs / "untaught")
    taught, untaught = (checkpoint.load_best(runs / name, 0) for name in ("taught", "untaught"))
    assert any(not np.array_equal(ours, theirs) for ours, theirs in zip(taught, untaught, strict=True))


def test_a_teacher_that_saw_another_split_is_refused(runs: Path) -> None:
    with pytest.raises(DatasetError, match="another split"):
        load_teacher(runs / "master", "c" * 64)


def test_a_teacher_that_was_never_trained_is_refused_with_the_remedy(
    arrays: Arrays, runs: Path, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="python -m training train master"):
        fit(student(), arrays, ORIGIN, tmp_path / "t")
