"""Training a tiny Xception: exact resume, phases, averages, early stopping."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from brainmri.errors import DatasetError
from training.data.origin import Origin
from training.data.slices import Slices
from training.fit import checkpoint
from training.fit.augment import Augmentation
from training.fit.balanced import BalancedBatches
from training.fit.fit import fit
from training.fit.model import BODY, FEATURES, build_model, with_features
from training.fit.optimisers import optimiser, plateau_rate
from training.fit.recipe import Phase, Recipe
from training.release.export import calibration_images

pytestmark = pytest.mark.slow

ORIGIN = Origin("a" * 64, "b" * 64)
STILL = {"rotation": 0, "quarter": 0, "flip": 0, "reframe": 0, "stretch": 0, "shift": 0}
PHASE = {"epochs": 2, "downsample": 4, "batch_size": 8, "warmup_steps": 2, "peak_learning_rate": 0.01}


def recipe(**changes: object) -> Recipe:
    phases = [PHASE, PHASE | {"epochs": 1, "downsample": 3}]
    facts = {
        "name": "t",
        "architecture": "tiny_xception",
        "ema": 0.9,
        "steps": 3,
        "localisation": 0.1,
        "phases": phases,
    }
    return Recipe.model_validate(facts | changes)


def train(slices: Slices, folder: Path, chosen: Recipe, **options: Any) -> checkpoint.Progress:
    return fit(chosen, slices, ORIGIN, folder, **options)


FIGURES = {"val_macro_f1": 0.5, "val_accuracy": 0.5, "val_normal": 0.5, "val_found": 0.5}


class PowerCut(Exception):
    """Stops a run right after a checkpoint."""


def cut_power_after(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    save = checkpoint.save_state

    def save_and_stop(folder: Path, model: keras.Model, progress: checkpoint.Progress) -> None:
        save(folder, model, progress)
        if progress.epoch == epoch:
            raise PowerCut

    monkeypatch.setattr("training.fit.checkpoint.save_state", save_and_stop)


@pytest.fixture(scope="module")
def whole(slices: Slices, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train(slices, folder, recipe())
    return folder


def test_a_run_cut_off_in_each_phase_and_resumed_ends_with_the_same_weights(
    slices: Slices, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for epoch in (1, 2):
        with monkeypatch.context() as patch:
            cut_power_after(epoch, patch)
            with pytest.raises(PowerCut):
                train(slices, tmp_path, recipe(), resume=True)
    progress = train(slices, tmp_path, recipe(), resume=True)
    assert progress.epoch == 3
    for ours, theirs in zip(checkpoint.load_averaged(tmp_path, 1), checkpoint.load_averaged(whole, 1), strict=True):
        assert np.array_equal(ours, theirs)
    with np.load(tmp_path / "state.npz") as resumed, np.load(whole / "state.npz") as expected:
        assert len(resumed.files) > 30
        for name in set(resumed.files) - {"progress"}:
            assert np.array_equal(resumed[name], expected[name]), name


def test_a_finished_run_resumes_to_itself(slices: Slices, whole: Path) -> None:
    before = (whole / "state.npz").read_bytes()
    assert train(slices, whole, recipe(), resume=True).epoch == 3
    assert (whole / "state.npz").read_bytes() == before


def test_history_has_a_row_an_epoch_and_a_plot(whole: Path) -> None:
    lines = (whole / "history.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,phase,seconds,loss,map_loss,val_macro_f1,val_accuracy,val_normal,val_found")
    assert [line.split(",")[:2] for line in lines[1:]] == [["1", "1"], ["2", "1"], ["3", "2"]]
    assert (whole / "history.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("changed", "what"), [({"seed": 2}, "recipe"), ({}, "split")])
def test_resuming_with_something_else_is_refused(
    slices: Slices, whole: Path, changed: dict[str, object], what: str
) -> None:
    with pytest.raises(DatasetError, match=f"another {what}"):
        fit(recipe(**changed), slices, ORIGIN if changed else Origin("a" * 64, "c" * 64), whole, resume=True)


def test_a_recipe_may_be_extended_by_phases_and_goes_on_from_the_last_best(
    slices: Slices, whole: Path, tmp_path: Path
) -> None:
    first = recipe(phases=recipe().phases[:1])
    train(slices, tmp_path, first)
    assert train(slices, tmp_path, recipe(), resume=True).epoch == 3
    for ours, theirs in zip(checkpoint.load_averaged(tmp_path, 1), checkpoint.load_averaged(whole, 1), strict=True):
        assert np.array_equal(ours, theirs)


def test_a_phase_that_has_not_begun_may_change(slices: Slices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        cut_power_after(2, patch)
        with pytest.raises(PowerCut):
            train(slices, tmp_path, recipe(phases=[*recipe().phases[:1], PHASE | {"epochs": 5}]))
    assert train(slices, tmp_path, recipe(), resume=True).epoch == 3


def test_a_phase_may_have_its_own_augmentation_shares_and_smoothing() -> None:
    still = Augmentation(**dict.fromkeys(Augmentation.model_fields, 0.0))
    own = {"label_smoothing": 0.0, "augmentation": still.model_dump(), "shares": {"glioma": 1.0}, "localisation": 0.3}
    chosen = recipe(label_smoothing=0.1, phases=[PHASE, PHASE | own])
    assert chosen.within(chosen.phases[0]) == chosen
    last = chosen.within(chosen.phases[1])
    assert (last.label_smoothing, last.augmentation, last.shares) == (0.0, still, {"glioma": 1.0})
    assert last.localisation == 0.3


def test_a_phase_may_end_before_its_schedule(slices: Slices, tmp_path: Path) -> None:
    chosen = recipe(phases=[PHASE | {"epochs": 5, "stop_after": 1}, PHASE | {"epochs": 1}])
    assert [row["phase"] for row in train(slices, tmp_path, chosen).history] == [1, 2]


def test_a_phase_hands_its_last_weights_on_whatever_validation_says(
    slices: Slices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.9, 0.1, 0.5])
    monkeypatch.setattr("training.fit.validation.Validation.figures", lambda *_: {**FIGURES, "val_score": next(scores)})
    saved: list[int] = []
    save = checkpoint.save_averaged

    def record(folder: Path, phase: int, weights: list[Any]) -> None:
        saved.append(phase)
        save(folder, phase, weights)

    monkeypatch.setattr("training.fit.checkpoint.save_averaged", record)
    train(slices, tmp_path, recipe())
    assert saved == [0, 0, 1]


def test_a_recipe_from_random_weights_takes_no_weights_file(slices: Slices, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="without --weights"):
        train(slices, tmp_path, recipe(), weights_file="w.h5")


def test_a_recipe_without_the_phase_that_was_trained_last_may_not_resume(slices: Slices, tmp_path: Path) -> None:
    train(slices, tmp_path, recipe())
    other = recipe(phases=[*recipe().phases[:1], PHASE | {"epochs": 5}])
    with pytest.raises(DatasetError, match="another recipe"):
        train(slices, tmp_path, other, resume=True)


def test_training_lowers_the_loss_on_what_it_learns_from(slices: Slices, tmp_path: Path) -> None:
    off = dict.fromkeys(Augmentation.model_fields, 0.0)
    phases = [PHASE | {"epochs": 8, "downsample": 3, "batch_size": 4, "peak_learning_rate": 0.01}]
    chosen = recipe(
        phases=phases,
        augmentation=off,
        framing=STILL,
        label_smoothing=0.0,
        steps=12,
        shares={"glioma": 1.0, "pituitary": 1.0},
        localisation=0.0,
    )
    history = train(slices, tmp_path, chosen).history
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]


def test_the_head_phase_leaves_the_body_alone(slices: Slices, tmp_path: Path) -> None:
    chosen = recipe(phases=[PHASE | {"trainable": "head", "epochs": 1}], ema=0.0)
    train(slices, tmp_path, chosen)
    fresh = build_model("tiny_xception", 4, seed=chosen.seed)
    pairs = zip(fresh.weights, fresh.get_weights(), checkpoint.load_averaged(tmp_path, 0), strict=True)
    moved = {weight.path for weight, before, after in pairs if not np.array_equal(before, after)}
    assert moved == {"hidden/kernel", "hidden/bias", "logits/kernel", "logits/bias"}


def test_early_stopping_ends_a_phase_and_the_next_one_still_runs(
    slices: Slices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter(np.linspace(0.9, 0.1, 9))
    monkeypatch.setattr("training.fit.validation.Validation.figures", lambda *_: {**FIGURES, "val_score": next(scores)})
    chosen = recipe(patience=1, phases=[PHASE | {"epochs": 9}, PHASE | {"epochs": 1}])
    phases = [row["phase"] for row in train(slices, tmp_path, chosen).history]
    assert phases == [1, 1, 2]


def test_max_steps_shortens_an_epoch(slices: Slices, tmp_path: Path) -> None:
    train(slices, tmp_path, recipe(phases=[PHASE | {"epochs": 1}]), max_steps=1)
    with np.load(tmp_path / "state.npz") as state:
        assert int(state["optimizer0000"]) == 1


def test_a_plateau_lowers_the_rate_and_goes_on_exactly_after_a_cut(
    slices: Slices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plateau = PHASE | {"epochs": 4, "schedule": "plateau", "plateau_patience": 1, "plateau_factor": 0.1}
    chosen = recipe(optimizer="adam", phases=[plateau])
    figures = [{**FIGURES, "val_score": score} for score in (0.5, 0.4, 0.6, 0.5)]
    monkeypatch.setattr(
        "training.fit.validation.Validation.figures", lambda *_: figures[len(checkpoint_history(tmp_path))]
    )
    with monkeypatch.context() as patch:
        cut_power_after(2, patch)
        with pytest.raises(PowerCut):
            train(slices, tmp_path, chosen)
    progress = train(slices, tmp_path, chosen, resume=True)
    assert [row["val_score"] for row in progress.history] == [0.5, 0.4, 0.6, 0.5]
    with np.load(tmp_path / "state.npz") as state:
        # The iteration comes first, then the rate of the last epoch: lowered once, after the second.
        assert int(state["optimizer0000"]) == 12
        assert float(state["optimizer0001"]) == pytest.approx(1e-3)


def checkpoint_history(folder: Path) -> list[dict[str, float]]:
    progress = checkpoint.load_progress(folder)
    return progress.history if progress else []


def test_a_recipe_may_keep_the_weights_of_the_best_epoch(
    slices: Slices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.1, 0.9, 0.5])
    monkeypatch.setattr("training.fit.validation.Validation.figures", lambda *_: {**FIGURES, "val_score": next(scores)})
    saved: list[Any] = []
    monkeypatch.setattr("training.fit.checkpoint.save_averaged", lambda *_: saved.append(len(saved)))
    train(slices, tmp_path, recipe(keep="best", phases=[PHASE | {"epochs": 3}]))
    assert len(saved) == 2


@pytest.mark.parametrize(("name", "kind"), [("adam", keras.optimizers.Adam), ("adamax", keras.optimizers.Adamax)])
def test_adam_and_adamax_have_no_weight_decay(name: str, kind: type) -> None:
    chosen = recipe(optimizer=name)
    made: Any = optimiser(chosen, chosen.phases[0], 3)
    assert (type(made), made.weight_decay) == (kind, None)


def test_the_rate_of_a_plateau_falls_when_the_score_has_stopped_rising() -> None:
    phase = Phase(epochs=9, schedule="plateau", peak_learning_rate=0.1, plateau_factor=0.5, plateau_patience=2)
    scores = [0.5, 0.4, 0.5, 0.6, 0.6, 0.6, 0.1, 0.2]
    rates = [plateau_rate(phase, scores[:number]) for number in range(len(scores) + 1)]
    assert rates == [0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.0125]
    assert plateau_rate(phase, [0.0] * 100) == 0.1 * 1e-3


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_both_optimisers_spare_biases_and_normalisation_from_decay(
    slices: Slices, tmp_path: Path, optimizer: str
) -> None:
    decayed = recipe(optimizer=optimizer, ema=0.0, weight_decay=0.5, steps=12, phases=[PHASE | {"epochs": 1}])
    train(slices, tmp_path / "a", decayed)
    train(slices, tmp_path / "b", decayed.model_copy(update={"weight_decay": 0.0}))
    trained = (checkpoint.load_averaged(tmp_path / run, 0) for run in ("a", "b"))
    norms = [sum(float(np.abs(w).sum()) for w in weights if w.ndim > 1) for weights in trained]
    assert norms[0] < 0.99 * norms[1]


def test_the_head_is_the_one_of_the_earlier_systems() -> None:
    model = build_model("tiny_xception", 1)
    assert [layer.name for layer in model.layers][-6:] == [
        BODY,
        FEATURES,
        "dropout_features",
        "hidden",
        "dropout_hidden",
        "logits",
    ]
    assert (model.get_layer("dropout_features").rate, model.get_layer("dropout_hidden").rate) == (0.30, 0.25)
    assert (model.get_layer("hidden").units, model.get_layer("logits").units) == (128, 4)


def test_the_serving_model_takes_uint8_and_gives_the_same_logits_and_the_features(slices: Slices) -> None:
    model = build_model("tiny_xception", 2, seed=3)
    images = np.asarray(slices.pixels[:3])
    outputs = with_features(model).predict_on_batch(images)
    assert np.allclose(outputs["logits"], model.predict_on_batch(images), atol=1e-6)
    assert outputs["features"].shape == (3, 16)


def test_features_are_the_mean_of_what_the_middle_flow_ends_with() -> None:
    model = build_model("xception", 4, seed=3)
    serving = with_features(model)
    images = np.random.default_rng(0).integers(0, 256, (1, 299, 299, 3), dtype=np.uint8)
    body = model.get_layer(BODY)
    # Twelve residual sums: the last but one ends the middle flow.
    sums = [layer for layer in body.layers if isinstance(layer, keras.layers.Add)]
    grids = keras.Model(body.input, sums[-2].output)
    stem = keras.Model(model.input, model.get_layer("downsample").output)
    grid = grids.predict_on_batch(stem.predict_on_batch(images))
    expected = np.maximum(grid, 0).mean(axis=(1, 2))
    outputs = serving.predict_on_batch(images)
    assert expected.shape == (1, 728)
    np.testing.assert_allclose(outputs["features"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outputs["logits"], model.predict_on_batch(images), rtol=1e-4, atol=1e-5)


def test_downsampling_averages_in_the_graph() -> None:
    image = np.zeros((1, 299, 299, 3), np.uint8)
    image[0, ::2, ::2] = 200
    same = np.full((1, 299, 299, 3), 50, np.uint8)
    model = build_model("tiny_xception", 2, seed=3)
    assert np.allclose(model.predict_on_batch(image), model.predict_on_batch(same), atol=1e-4)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"missing\.weights\.h5"):
        build_model("xception", 1, weights=str(tmp_path / "missing.weights.h5"))


def test_a_weights_file_of_the_body_is_loaded(tmp_path: Path) -> None:
    source = build_model("xception", 4, seed=1)
    source.get_layer(BODY).save_weights(tmp_path / "body.weights.h5")
    loaded = build_model("xception", 4, weights=str(tmp_path / "body.weights.h5"), seed=2)
    for ours, theirs in zip(loaded.get_layer(BODY).get_weights(), source.get_layer(BODY).get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
    assert not np.array_equal(loaded.get_layer("logits").get_weights()[0], source.get_layer("logits").get_weights()[0])


def test_a_run_cut_off_between_its_two_files_resumes_exactly(
    slices: Slices, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = checkpoint.save_averaged

    def save_and_stop(folder: Path, phase: int, weights: list[Any]) -> None:
        save(folder, phase, weights)
        if phase == 1:
            raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr("training.fit.checkpoint.save_averaged", save_and_stop)
        with pytest.raises(PowerCut):
            train(slices, tmp_path, recipe())
    train(slices, tmp_path, recipe(), resume=True)
    for ours, theirs in zip(checkpoint.load_averaged(tmp_path, 1), checkpoint.load_averaged(whole, 1), strict=True):
        assert np.array_equal(ours, theirs)


def test_resuming_with_another_length_of_epoch_is_refused(slices: Slices, tmp_path: Path) -> None:
    train(slices, tmp_path, recipe(), max_steps=1)
    with pytest.raises(DatasetError, match="--max-steps 1"):
        train(slices, tmp_path, recipe(), resume=True)


def test_a_damaged_checkpoint_is_refused(slices: Slices, tmp_path: Path) -> None:
    (tmp_path / "state.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DatasetError, match="cannot be read"):
        train(slices, tmp_path, recipe(), resume=True)


def test_a_fresh_run_removes_what_an_older_one_left(slices: Slices, tmp_path: Path) -> None:
    (tmp_path / "state.npz").write_bytes(b"old")
    (tmp_path / "best-2.npz").write_bytes(b"old")
    train(slices, tmp_path, recipe(phases=[PHASE | {"epochs": 1}]), max_steps=1)
    assert sorted(path.name for path in tmp_path.glob("*.npz")) == ["best-1.npz", "state.npz"]


def test_only_the_train_subset_is_trained_on(slices: Slices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    read = BalancedBatches._read

    def record(self: BalancedBatches, row: int) -> Any:
        seen.append(row)
        return read(self, row)

    monkeypatch.setattr(BalancedBatches, "_read", record)
    transplants = {"erase": 0.3, "paste": 0.5, "sham": 0.3}
    train(slices, tmp_path, recipe(phases=[PHASE | {"epochs": 1}], transplants=transplants))
    assert len(seen) > 40
    assert {slices.images[number].subset for number in seen} == {"train"}


def test_quantisation_sees_the_train_subset_only(slices: Slices) -> None:
    train_rows = slices.subset("train")
    allowed = {slices.pixels[number].tobytes() for number in train_rows}
    images = calibration_images(slices, seed=1, count=12)
    assert len(images) == 12
    assert {image.tobytes() for image in images} <= allowed


def test_the_best_weights_under_mixed_float16_are_the_averaged_ones(slices: Slices, tmp_path: Path) -> None:
    try:
        train(slices, tmp_path, recipe(precision="mixed_float16", phases=[PHASE | {"epochs": 1}]))
    finally:
        keras.config.set_dtype_policy("float32")
    with np.load(tmp_path / "state.npz") as state:
        raw = [state[name] for name in sorted(state.files) if name.startswith("weight")]
    best = checkpoint.load_averaged(tmp_path, 0)
    assert any(not np.array_equal(ours, theirs) for ours, theirs in zip(best, raw, strict=True))
